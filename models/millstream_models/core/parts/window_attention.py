"""Softmax attention over the last frames, with their keys and values in a ring."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.forms import Form
from millstream_models.core.parts.partial_softmax import Partial, attend
from millstream_models.core.parts.rotary import rotate


def attend_window(
    form: Form, q: Tensor, k: Tensor, v: Tensor, frequency: Tensor, position: Tensor, first: int, rings: tuple
) -> tuple[Partial, tuple[Tensor, Tensor]]:
    """Attend to the last W frames, this one among them, with rotary positions.

    A score depends on distances alone, so keys are kept as they are and turned by their distance when they
    are read: constant angles, exact in a stream of any length.

    Args:
        q, k, v: (..., H, K), (..., H, K), (..., H, V); q is scaled already and not turned.
        frequency: radians per frame of distance, (K / 2,).
        position: number of the frame, (..., 1) int64.
        first: frames before this number are not looked at.
        rings: keys (B, W - 1, H, K) and values (B, W - 1, H, V) of the frames before.
    """
    keys, key_ring = form.window(k, rings[0])
    values, value_ring = form.window(v, rings[1])
    width = rings[0].shape[1] + 1
    distance = torch.arange(width - 1, -1, -1, device=q.device)
    turn = -(distance.unsqueeze(-1).double() * frequency).to(q.dtype)
    visible = position - distance >= first
    return attend(q, rotate(keys, turn.unsqueeze(-2)), values, visible), (key_ring, value_ring)


def initial_rings(like: Tensor, batch: int, window: int, heads: int, width: int) -> dict[str, Tensor]:
    """Zero rings of `window` - 1 frames, named `keys` and `values`."""
    zeros = like.new_zeros(batch, window - 1, heads, width)
    return {"keys": zeros, "values": zeros.clone()}


def initial_count(like: Tensor, batch: int) -> Tensor:
    """No frame yet, (batch, 1) int64."""
    return like.new_zeros(batch, 1, dtype=torch.int64)
