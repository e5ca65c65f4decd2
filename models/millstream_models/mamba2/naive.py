"""Mamba-2 as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, rms_norm, short_convolution, silu, softplus
from millstream_models.mamba2.model import Mamba2


def naive(mixer: Mamba2, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    inner, order, heads = mixer.out.in_features, mixer.order, mixer.heads
    projected = [linear(mixer.inlet, frame) for frame in x]
    convolved = short_convolution(mixer.convolution, [p[inner : 2 * inner + 2 * order] for p in projected])
    states = [torch.zeros(inner // heads, order, dtype=x.dtype) for _ in range(heads)]
    outputs = []
    for p, u in zip(projected, convolved, strict=True):
        b, c = u[inner : inner + order], u[inner + order :]
        y = []
        for head, state in enumerate(states):
            value = u[:inner].chunk(heads)[head]
            delta = softplus(p[2 * inner + 2 * order + head] + mixer.step_bias[head])
            decay = torch.exp(-delta * torch.exp(mixer.a_log[head]))
            states[head] = decay * state + torch.outer(delta * value, b)
            y.append(states[head] @ c + mixer.skip[head] * value)
        outputs.append(linear(mixer.out, rms_norm(mixer.norm, torch.cat(y) * silu(p[:inner]))))
    return torch.stack(outputs)
