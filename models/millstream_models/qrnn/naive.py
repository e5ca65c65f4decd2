"""QRNN with fo-pooling as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, sigmoid
from millstream_models.qrnn.model import QRNN


def naive(mixer: QRNN, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    cell, past, outputs = torch.zeros_like(x[0]), [torch.zeros_like(x[0])] * (mixer.taps - 1), []
    for frame in x:
        window = [*past, frame]
        value, forget, read = linear(mixer.gates, torch.cat(window)).chunk(3)
        cell = sigmoid(forget) * cell + (1 - sigmoid(forget)) * torch.tanh(value)
        outputs.append(sigmoid(read) * cell)
        past = window[1:]
    return torch.stack(outputs)
