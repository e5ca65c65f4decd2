"""Aaren as its equations say: a softmax over all frames so far. The oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.aaren.model import Aaren
from millstream_models.core.naive import linear, softmax


def naive(mixer: Aaren, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    keys, values = ([linear(layer, frame) for frame in x] for layer in (mixer.k, mixer.v))
    outputs = []
    for t in range(len(x)):
        read = []
        for head, query in enumerate(mixer.query):
            own = [key.chunk(mixer.heads)[head] for key in keys[: t + 1]]
            weights = softmax(torch.stack([query @ key for key in own]) / len(query) ** 0.5)
            read.append(sum(w * v.chunk(mixer.heads)[head] for w, v in zip(weights, values, strict=False)))
        outputs.append(linear(mixer.out, torch.cat(read)))
    return torch.stack(outputs)
