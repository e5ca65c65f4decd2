"""Causal flow attention as its equations say, with every sum written out: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, sigmoid
from millstream_models.flowformer.model import FlowAttention

EPSILON = 1e-6


def naive(mixer: FlowAttention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    per_head = []
    for head in range(mixer.heads):
        q = [sigmoid(linear(mixer.q, frame).chunk(mixer.heads)[head]) for frame in x]
        k = [sigmoid(linear(mixer.k, frame).chunk(mixer.heads)[head]) for frame in x]
        v = [linear(mixer.v, frame).chunk(mixer.heads)[head] for frame in x]
        per_head.append(_head(q, k, v))
    return torch.stack([linear(mixer.out, torch.cat(parts)) for parts in zip(*per_head, strict=True)])


def _head(q: list[Tensor], k: list[Tensor], v: list[Tensor]) -> list[Tensor]:
    steps = range(len(q))
    incoming = [(t + 1) / _dot(q[t], sum(k[: t + 1])) for t in steps]
    outgoing = [(t + 1) / _dot(k[t], sum(q[: t + 1])) for t in steps]
    kept_in = [_dot(q[t], sum(k[j] * outgoing[j] for j in range(t + 1))) / (t + 1) for t in steps]
    kept_out = [_dot(k[t], sum(q[j] * incoming[j] for j in range(t + 1))) / (t + 1) for t in steps]
    strength = [torch.exp(torch.clamp(flow, -1, 1)) for flow in kept_out]
    competing = [v[t] * (t + 1) * strength[t] / sum(strength[: t + 1]) for t in steps]
    outputs = []
    for t in steps:
        weights = [q[t] @ k[j] * incoming[t] / (t + 1) for j in range(t + 1)]
        read = sum(w * value for w, value in zip(weights, competing, strict=False))
        outputs.append(sigmoid(kept_in[t]) * read)
    return outputs


def _dot(a: Tensor, b) -> Tensor:
    return (a + EPSILON) @ (b + EPSILON)
