"""Gated linear attention as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, rms_norm, sigmoid, silu
from millstream_models.gla.model import GatedLinearAttention


def naive(mixer: GatedLinearAttention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    keys = mixer.keys // mixer.heads
    states = [torch.zeros(keys, mixer.norm.gain.shape[0], dtype=x.dtype) for _ in range(mixer.heads)]
    outputs = []
    for frame in x:
        q, k, v = (linear(layer, frame) for layer in (mixer.q, mixer.k, mixer.v))
        decay = sigmoid(linear(mixer.decay[1], linear(mixer.decay[0], frame))) ** (1 / 16)
        read = []
        for head, state in enumerate(states):
            key = slice(head * keys, (head + 1) * keys)
            value = v.chunk(mixer.heads)[head]
            states[head] = torch.diag(decay[key]) @ state + torch.outer(k[key], value)
            read.append(rms_norm(mixer.norm, states[head].T @ q[key] / keys**0.5))
        outputs.append(linear(mixer.out, torch.cat(read) * silu(linear(mixer.gate, frame))))
    return torch.stack(outputs)
