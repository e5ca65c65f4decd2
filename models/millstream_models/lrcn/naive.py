"""The LSTM of LRCN as its equations say: the oracle of the tests. The network acts on frames alone."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, sigmoid
from millstream_models.lrcn.model import LSTM


def naive(mixer: LSTM, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    cell, hidden, outputs = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    for frame in x:
        gates = linear(mixer.input, frame) + mixer.recurrent.weight @ hidden
        write, forget, value, read = gates.chunk(4)
        cell = sigmoid(forget) * cell + sigmoid(write) * torch.tanh(value)
        hidden = sigmoid(read) * torch.tanh(cell)
        outputs.append(hidden)
    return torch.stack(outputs)
