"""SCOUT: a recurrent mixer for what is near, and attention to one checkpoint in every few frames.

Source: Jafari et al., "SCOUT: Toward Sub-Quadratic Attention via Segment Compression for Optimized Utility in
Transformers" (2025), with a bounded number of checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.checkpoints import attend_checkpoints
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.rotary import positions
from millstream_models.core.shell import Mixer, State, StreamModel, small
from millstream_models.mamba.model import Mamba


class Scout(Mixer):
    """y = Mamba(x); every frame's y attends to itself and to the y at the end of each completed segment."""

    def __init__(self, width: int, heads: int, every: int, slots: int) -> None:
        super().__init__()
        self.heads, self.every, self.slots = heads, every, slots
        self.local = Mamba(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        near, local = self.local.mix(x, {"ring": state["ring"], "memory": state["memory"]}, form)
        position, count = positions(x, state["count"], form)
        q, k, v = (split(layer(near), self.heads) for layer in (self.q, self.k, self.v))
        cache = (state["keys"], state["values"])
        q = q * q.shape[-1] ** -0.5
        o, (keys, values) = attend_checkpoints(form, q, k, v, position, self.every, cache)
        return self.out(join(o)), {**local, "count": count, "keys": keys, "values": values}

    def initial_state(self, batch: int) -> State:
        zeros = self.q.weight.new_zeros(batch, self.slots, self.heads, self.q.out_features // self.heads)
        count = zeros.new_zeros(batch, 1, dtype=torch.int64)
        return {**self.local.initial_state(batch), "count": count, "keys": zeros, "values": zeros.clone()}


def scout() -> StreamModel:
    """The small configuration of the catalogue: segments of 4 frames, 511 of them: 2048 frames."""
    return small(lambda _: Scout(32, heads=2, every=4, slots=511))
