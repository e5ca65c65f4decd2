"""Retention as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import frequencies, linear, rms_norm, rotate, silu
from millstream_models.retnet.model import Retention


def naive(mixer: Retention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width): frame j counts γ^(t - j) at frame t."""
    width = x.shape[1] // mixer.heads
    turn = frequencies(width)
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
                score = rotate(query[t], t * turn) @ rotate(keys[j], j * turn) / width**0.5
                total = total + (1 - 2.0 ** (-5 - head)) ** (t - j) * score * values[j]
            read.append(rms_norm(mixer.norm, total))
        outputs.append(linear(mixer.out, torch.cat(read) * silu(linear(mixer.gate, x[t]))))
    return torch.stack(outputs)
