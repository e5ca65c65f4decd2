"""EcoFormer's attention as its weights say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear
from millstream_models.ecoformer.model import BinaryAttention


def naive(mixer: BinaryAttention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width): weights are twice the number of agreeing bits."""
    heads = mixer.heads
    queries, values = ([linear(layer, frame) for frame in x] for layer in (mixer.q, mixer.v))
    outputs = []
    for t in range(len(x)):
        read = []
        for head in range(heads):
            codes = [_code(mixer, head, query.chunk(heads)[head]) for query in queries[: t + 1]]
            weights = [2.0 * float((codes[t] == code).sum()) for code in codes]
            total = sum(w * value.chunk(heads)[head] for w, value in zip(weights, values, strict=False))
            read.append(total / (sum(weights) + 1e-6))
        outputs.append(linear(mixer.out, torch.cat(read)))
    return torch.stack(outputs)


def _code(mixer: BinaryAttention, head: int, x: Tensor) -> Tensor:
    width = mixer.kernel_width[head]
    kernel = torch.stack([torch.exp(-((x - a) @ (x - a)) / (2 * width**2)) for a in mixer.anchors[head]])
    return mixer.hash[head] @ (kernel[:, 0] - mixer.mean[head]) >= 0
