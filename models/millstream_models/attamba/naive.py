"""Attamba with a cache that just grows: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.attamba.model import Attamba
from millstream_models.core.naive import linear, softmax
from millstream_models.mamba.naive import naive as naive_mamba


def naive(mixer: Attamba, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    heads = mixer.heads
    k, v = ([frame.chunk(heads) for frame in naive_mamba(space, x)] for space in (mixer.k, mixer.v))
    chunks, outputs = [], []
    for t, frame in enumerate(x):
        read, seen = [], [*chunks, t]
        for head, query in enumerate(linear(mixer.q, frame).chunk(heads)):
            weights = softmax(torch.stack([query @ k[j][head] for j in seen]) / len(query) ** 0.5)
            read.append(sum(w * v[j][head] for w, j in zip(weights, seen, strict=True)))
        outputs.append(linear(mixer.out, torch.cat(read)))
        if (t + 1) % mixer.chunk == 0:
            chunks.append(t)
    return torch.stack(outputs)
