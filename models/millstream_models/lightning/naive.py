"""Normed linear attention as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, rms_norm, sigmoid, silu
from millstream_models.lightning.model import NormAttention


def naive(mixer: NormAttention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width): frame j counts γ^(t - j) at frame t."""
    q, k, v = ([linear(layer, frame) for frame in x] for layer in (mixer.q, mixer.k, mixer.v))
    outputs = []
    for t in range(len(x)):
        read = []
        for head in range(mixer.heads):
            query, keys, values = (
                [frame.chunk(mixer.heads)[head] for frame in frames[: t + 1]] for frames in (q, k, v)
            )
            total = torch.zeros_like(values[0])
            for j in range(t + 1):
                total = total + mixer.decay[head] ** (t - j) * (silu(query[t]) @ silu(keys[j])) * values[j]
            read.append(total)
        gate = sigmoid(linear(mixer.gate, x[t]))
        outputs.append(linear(mixer.out, gate * rms_norm(mixer.norm, torch.cat(read))))
    return torch.stack(outputs)
