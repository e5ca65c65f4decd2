"""Mamba as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, short_convolution, silu, softplus
from millstream_models.mamba.model import Mamba, signed_decay


def naive(mixer: Mamba, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    inner, order = mixer.a_log.shape
    rank = mixer.step_size.in_features
    halves = [linear(mixer.inlet, frame) for frame in x]
    convolved = short_convolution(mixer.convolution, [half[:inner] for half in halves])
    state, outputs = torch.zeros(inner, order, dtype=x.dtype), []
    for u, half in zip(convolved, halves, strict=True):
        selected = linear(mixer.select, u)
        b, c = selected[rank : rank + order], selected[rank + order :]
        delta = softplus(linear(mixer.step_size, selected[:rank]))
        rows, y = [], []
        for channel in range(inner):
            decay = torch.exp(-delta[channel] * torch.exp(mixer.a_log[channel]))
            if mixer.decay is signed_decay:
                decay = 2 * decay - 1
            rows.append(decay * state[channel] + delta[channel] * u[channel] * b)
            y.append(rows[-1] @ c + mixer.skip[channel] * u[channel])
        state = torch.stack(rows)
        outputs.append(linear(mixer.out, torch.stack(y) * silu(half[inner:])))
    return torch.stack(outputs)
