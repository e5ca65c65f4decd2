"""SCOUT with a cache that just grows: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, softmax
from millstream_models.mamba.naive import naive as naive_mamba
from millstream_models.scout.model import Scout


def naive(mixer: Scout, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    near, heads = naive_mamba(mixer.local, x), mixer.heads
    q, k, v = ([linear(f, frame).chunk(heads) for frame in near] for f in (mixer.q, mixer.k, mixer.v))
    checkpoints, outputs = [], []
    for t in range(len(x)):
        read, seen = [], [*checkpoints, t]
        for head in range(heads):
            query = q[t][head]
            weights = softmax(torch.stack([query @ k[j][head] for j in seen]) / len(query) ** 0.5)
            read.append(sum(w * v[j][head] for w, j in zip(weights, seen, strict=True)))
        outputs.append(linear(mixer.out, torch.cat(read)))
        if (t + 1) % mixer.every == 0:
            checkpoints.append(t)
    return torch.stack(outputs)
