"""Hedgehog attention as its equations say: the oracle of the tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from millstream_models.core.naive import linear, softmax
from millstream_models.hedgehog.model import (
    HedgehogAttention,
    exponential_map,
    joint_softmax_map,
    two_softmax_map,
)


def naive(mixer: HedgehogAttention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    features = _MAPS[mixer.feature_map]
    q, k, v = ([linear(layer, frame) for frame in x] for layer in (mixer.q, mixer.k, mixer.v))
    outputs = []
    for t in range(len(x)):
        read = []
        for head in range(mixer.heads):
            query, keys, values = (
                [frame.chunk(mixer.heads)[head] for frame in frames[: t + 1]] for frames in (q, k, v)
            )
            wanted = features(mixer.query_map[head] @ query[t])
            weights = [wanted @ features(mixer.key_map[head] @ key) for key in keys]
            total = sum(w * value for w, value in zip(weights, values, strict=True))
            read.append(total / (sum(weights) + 1e-6))
        outputs.append(linear(mixer.out, torch.cat(read)))
    return torch.stack(outputs)


_MAPS: dict[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] = {
    exponential_map: lambda y: torch.cat((torch.exp(y - y.max()), torch.exp(y.min() - y))),
    two_softmax_map: lambda y: torch.clamp(torch.cat((softmax(y), softmax(-y))), min=1e-12),
    joint_softmax_map: lambda y: softmax(torch.cat((2 * y, -2 * y))),
}
