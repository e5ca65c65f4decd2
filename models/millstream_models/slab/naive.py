"""SLAB's attention as its weights say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import depthwise, linear
from millstream_models.slab.model import SimplifiedLinearAttention


def naive(mixer: SimplifiedLinearAttention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    rows, heads = len(mixer.position), mixer.heads
    q = [torch.clamp(linear(mixer.q, frame), min=0) for frame in x]
    k = [torch.clamp(linear(mixer.k, f) + mixer.position[min(t, rows - 1)], min=0) for t, f in enumerate(x)]
    v = [linear(mixer.v, frame) for frame in x]
    local = depthwise(mixer.local, mixer.local_bias, v)
    outputs = []
    for t in range(len(x)):
        read = []
        for head in range(heads):
            weights = [q[t].chunk(heads)[head] @ key.chunk(heads)[head] for key in k[: t + 1]]
            total = sum(w * value.chunk(heads)[head] for w, value in zip(weights, v, strict=False))
            read.append(total / (sum(weights) + 1e-6))
        outputs.append(linear(mixer.out, torch.cat(read) + local[t]))
    return torch.stack(outputs)
