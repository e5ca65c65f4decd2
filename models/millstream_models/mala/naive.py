"""MALA as its weights say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import depthwise, elu_plus_one, frequencies, linear, rotate
from millstream_models.mala.model import MagnitudeAwareAttention


def naive(mixer: MagnitudeAwareAttention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    width = x.shape[1] // mixer.heads
    turn, scale = frequencies(width), width**-0.5
    q, k, v = ([linear(layer, frame) for frame in x] for layer in (mixer.q, mixer.k, mixer.v))
    local = depthwise(mixer.local, mixer.local_bias, v)
    outputs = []
    for t in range(len(x)):
        n, read = t + 1, []
        for head in range(mixer.heads):
            query = elu_plus_one(q[t].chunk(mixer.heads)[head])
            keys = [elu_plus_one(key.chunk(mixer.heads)[head]) for key in k[:n]]
            z = scale / n * sum(query @ key for key in keys)
            total = torch.zeros(width, dtype=x.dtype)
            for j, key in enumerate(keys):
                score = rotate(query, t * turn) @ rotate(key, j * turn)
                total = total + ((1 + 1 / z) * scale / n * score - z / n) * v[j].chunk(mixer.heads)[head]
            read.append(total)
        outputs.append(linear(mixer.out, (torch.cat(read) + local[t]) * linear(mixer.gate, x[t])))
    return torch.stack(outputs)
