"""Attention weights that sum to one: the normaliser is one more column of the values, always 1."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.forms import Form

EPSILON = 1e-6


def normalized_recurrence(
    form: Form, q: Tensor, k: Tensor, v: Tensor, decay: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """`recur` on values with a column of ones, and its reads divided by what that column reads, plus 1e-6."""
    o, memory = form.recur(q, k, with_ones(v), decay, memory)
    return o[..., :-1] / (o[..., -1:] + EPSILON), memory


def with_ones(v: Tensor) -> Tensor:
    """(..., V) -> (..., V + 1)."""
    return torch.cat((v, torch.ones_like(v[..., :1])), -1)


def initial_memory(like: Tensor, batch: int, heads: int, values: int, keys: int) -> Tensor:
    """Zeros (batch, heads, values + 1, keys) of the dtype and device of `like`."""
    return like.new_zeros(batch, heads, values + 1, keys)
