"""Normalisation over the last axis."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-5


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last axis; a gain of (heads, width) norms every head by itself."""

    def __init__(self, *shape: int, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.gain = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.epsilon) * self.gain


class HeadLayerNorm(nn.Module):
    """Layer normalisation of every head by itself, (..., H, V) -> (..., H, V)."""

    def __init__(self, heads: int, width: int, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.gain = nn.Parameter(torch.ones(heads, width))
        self.bias = nn.Parameter(torch.zeros(heads, width))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        spread = torch.rsqrt((centred * centred).mean(-1, keepdim=True) + self.epsilon)
        return centred * spread * self.gain + self.bias


def unit(x: Tensor) -> Tensor:
    """x / |x| over the last axis, with 1e-6 under the root against a zero vector."""
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)
