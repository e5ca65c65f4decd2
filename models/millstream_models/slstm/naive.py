"""sLSTM as its equations say, without stabiliser: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import layer_norm, linear, sigmoid
from millstream_models.slstm.model import SLSTM


def naive(mixer: SLSTM, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    heads = mixer.heads
    width = x.shape[1] // heads
    cells, normalizers, hiddens = (
        [torch.zeros(width, dtype=x.dtype) for _ in range(heads)] for _ in range(3)
    )
    outputs = []
    for frame in x:
        driven = linear(mixer.inlet, frame)
        for head in range(heads):
            raw = driven.chunk(heads)[head] + mixer.recurrent[head] @ hiddens[head]
            value, write, forget, read = raw.chunk(4)
            cells[head] = sigmoid(forget) * cells[head] + torch.exp(write) * torch.tanh(value)
            normalizers[head] = sigmoid(forget) * normalizers[head] + torch.exp(write)
            hiddens[head] = sigmoid(read) * cells[head] / normalizers[head]
        outputs.append(linear(mixer.out, layer_norm(mixer.norm, torch.stack(hiddens)).flatten()))
    return torch.stack(outputs)
