"""HGRN2 as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, rms_norm, sigmoid, silu
from millstream_models.hgrn2.model import HGRN2


def naive(mixer: HGRN2, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    width = x.shape[1] // mixer.heads
    states = [torch.zeros(width, width, dtype=x.dtype) for _ in range(mixer.heads)]
    outputs = []
    for frame in x:
        forget = mixer.bound + (1 - mixer.bound) * sigmoid(linear(mixer.f, frame))
        q, v = silu(linear(mixer.q, frame)), linear(mixer.v, frame)
        read = []
        for head, state in enumerate(states):
            gate, query, value = (y.chunk(mixer.heads)[head] for y in (forget, q, v))
            states[head] = torch.diag(gate) @ state + torch.outer(1 - gate, value)
            read.append(states[head].T @ query)
        outputs.append(linear(mixer.out, rms_norm(mixer.norm, torch.cat(read))))
    return torch.stack(outputs)
