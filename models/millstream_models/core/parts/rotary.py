"""Rotary positions: pairs of channels turned by an angle that grows with the frame's number."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from millstream_models.core.forms import Form


def frequencies(width: int, base: float = 10000.0) -> Tensor:
    """Radians per frame of each pair (i, i + width / 2): base^(-2 i / width), (width / 2,) float64."""
    return base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)


def positions(x: Tensor, count: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """The number of each frame, (..., 1) int64 from 0, and the count after them.

    Kept as an integer: float32 cannot count beyond 2^24, and its angles are wrong long before.
    """
    after, count = form.total(torch.ones_like(x[..., :1], dtype=torch.int64), count)
    return after - 1, count


def angles(position: Tensor, frequency: Tensor, dtype: torch.dtype) -> Tensor:
    """position * frequency, brought into one turn in float64 before it is rounded to `dtype`."""
    return torch.remainder(position.double() * frequency, 2 * math.pi).to(dtype)


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + D/2]) of the last axis (..., D) by angle (..., D / 2)."""
    first, second = x.chunk(2, -1)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1)
