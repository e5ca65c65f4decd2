"""Attention over sinks and window with an explicit cache: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import frequencies, linear, rotate, softmax
from millstream_models.sinks.model import SinkAttention


def naive(mixer: SinkAttention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    heads = mixer.heads
    width = x.shape[1] // heads
    turn = frequencies(width)
    q, k, v = ([linear(layer, frame).chunk(heads) for frame in x] for layer in (mixer.q, mixer.k, mixer.v))
    cache, outputs = [], []
    for t in range(len(x)):
        cache.append(t)
        if len(cache) > mixer.sinks + mixer.window:
            del cache[mixer.sinks]
        read = []
        for head in range(heads):
            query = rotate(q[t][head], (len(cache) - 1) * turn) / width**0.5
            scores = [query @ rotate(k[j][head], slot * turn) for slot, j in enumerate(cache)]
            weights = softmax(torch.stack(scores))
            read.append(sum(w * v[j][head] for w, j in zip(weights, cache, strict=True)))
        outputs.append(linear(mixer.out, torch.cat(read)))
    return torch.stack(outputs)
