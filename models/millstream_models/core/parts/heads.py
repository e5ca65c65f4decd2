"""Channels as heads, and back."""

from __future__ import annotations

from torch import Tensor


def split(x: Tensor, heads: int) -> Tensor:
    """(..., H * D) -> (..., H, D)."""
    return x.unflatten(-1, (heads, x.shape[-1] // heads))


def join(x: Tensor) -> Tensor:
    """(..., H, D) -> (..., H * D)."""
    return x.flatten(-2)
