"""Attention to one frame in every few: a cache that grows, bounded by an explicit maximum."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.forms import Form
from millstream_models.core.parts.partial_softmax import attend, finish


class CacheFull(RuntimeError):
    """A stream is longer than the cache of its model was made for."""


def attend_checkpoints(
    form: Form, q: Tensor, k: Tensor, v: Tensor, position: Tensor, every: int, cache: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Softmax over the last frame of every completed segment and over this frame itself.

    A cache of N slots serves (N + 1) * every frames. Past them the module raises CacheFull; in an exported
    step, which cannot raise, outputs are NaN from there on, so that no wrong number passes for a right one.

    Args:
        q, k, v: (..., H, D); q is scaled already.
        position: number of the frame, (..., 1) int64.
        every: frames per segment.
        cache: keys and values of completed segments, (B, N, H, D).
    """
    slots = cache[0].shape[1]
    full = position >= (slots + 1) * every
    if not torch.compiler.is_compiling() and bool(full.any()):
        raise CacheFull(
            f"frame {int(position.max())}: the cache holds {slots} segments of {every} frames, so a stream "
            f"may have {(slots + 1) * every} frames; make the model with more slots, or start a new stream"
        )
    keys, last_keys = _stored(form, k, position, every, cache[0])
    values, last_values = _stored(form, v, position, every, cache[1])
    slot = torch.arange(slots, device=q.device)
    visible = torch.cat((slot < torch.div(position, every, rounding_mode="floor"), position >= 0), -1)
    keys = torch.cat((keys, k.unsqueeze(-3)), -3)
    values = torch.cat((values, v.unsqueeze(-3)), -3)
    o = finish(attend(q, keys, values, visible))
    return torch.where(full.unsqueeze(-1), torch.nan, o), (last_keys, last_values)


def _stored(form: Form, x: Tensor, position: Tensor, every: int, cache: Tensor) -> tuple[Tensor, Tensor]:
    """The cache as each frame leaves it, (..., N, H, D), and the last one: ends of segments are written."""

    def cell(inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        frame, number = inputs
        slot = torch.arange(cache.shape[1], device=frame.device)
        # Slot n takes frame (n + 1) * every - 1, and no other.
        here = (slot + 1) * every - 1 == number
        present = torch.where(here[..., None, None], frame.unsqueeze(1), state[0])
        return present, (present,)

    seen, (last,) = form.loop(cell, (x, position), (cache,))
    return seen, last
