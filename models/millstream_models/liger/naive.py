"""Liger as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import frequencies, linear, rotate, sigmoid, softmax
from millstream_models.liger.model import Liger


def naive(mixer: Liger, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    heads = mixer.heads
    width = x.shape[1] // heads
    turn = frequencies(width)
    states = [torch.zeros(width, width, dtype=x.dtype) for _ in range(heads)]
    q, k, v = ([linear(layer, frame).chunk(heads) for frame in x] for layer in (mixer.q, mixer.k, mixer.v))
    outputs = []
    for t in range(len(x)):
        halves = []
        for head in range(heads):
            key = k[t][head]
            decay = torch.diag(sigmoid(key) ** (1 / 16))
            states[head] = decay @ states[head] + torch.outer(softmax(key), v[t][head])
            linear_half = states[head].T @ softmax(q[t][head])
            seen = range(max(0, t - mixer.window + 1), t + 1)
            query = rotate(q[t][head], t * turn) / width**0.5
            weights = softmax(torch.stack([query @ rotate(k[j][head], j * turn) for j in seen]))
            near = sum(w * v[j][head] for w, j in zip(weights, seen, strict=True))
            halves.append(linear_half / 2 + near / 2)
        outputs.append(linear(mixer.out, torch.cat(halves)))
    return torch.stack(outputs)
