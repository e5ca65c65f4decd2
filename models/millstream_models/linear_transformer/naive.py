"""Linear attention as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import elu_plus_one, linear
from millstream_models.linear_transformer.model import LinearAttention


def naive(mixer: LinearAttention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width), every frame attending to all frames up to it."""
    q, k, v = ([linear(layer, frame) for frame in x] for layer in (mixer.q, mixer.k, mixer.v))
    outputs = []
    for t in range(len(x)):
        read = []
        for head in range(mixer.heads):
            query, keys, values = (
                [frame.chunk(mixer.heads)[head] for frame in frames[: t + 1]] for frames in (q, k, v)
            )
            weights = [elu_plus_one(query[t]) @ elu_plus_one(key) for key in keys]
            total = sum(w * value for w, value in zip(weights, values, strict=True))
            read.append(total / (sum(weights) + 1e-6))
        outputs.append(linear(mixer.out, torch.cat(read)))
    return torch.stack(outputs)
