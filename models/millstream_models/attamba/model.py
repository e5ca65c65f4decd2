"""Attamba: attention whose keys and values come from state spaces, so that one in every few is enough.

Source: Akhauri et al., "Attamba: Attending To Multi-Token States" (2024), with a bounded number of chunks.
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


class Attamba(Mixer):
    """k and v are Mamba's outputs; a frame attends to those at the end of each completed chunk and to its
    own.
    """

    def __init__(self, width: int, heads: int, chunk: int, slots: int) -> None:
        super().__init__()
        self.heads, self.chunk, self.slots = heads, chunk, slots
        self.q, self.out = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.k, self.v = Mamba(width), Mamba(width)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        k, k_state = self.k.mix(x, {"ring": state["k_ring"], "memory": state["k_memory"]}, form)
        v, v_state = self.v.mix(x, {"ring": state["v_ring"], "memory": state["v_memory"]}, form)
        position, count = positions(x, state["count"], form)
        q, k, v = (split(y, self.heads) for y in (self.q(x), k, v))
        cache = (state["keys"], state["values"])
        q = q * q.shape[-1] ** -0.5
        o, (keys, values) = attend_checkpoints(form, q, k, v, position, self.chunk, cache)
        after = {"count": count, "keys": keys, "values": values}
        after.update({f"k_{name}": value for name, value in k_state.items()})
        after.update({f"v_{name}": value for name, value in v_state.items()})
        return self.out(join(o)), after

    def initial_state(self, batch: int) -> State:
        zeros = self.q.weight.new_zeros(batch, self.slots, self.heads, self.q.out_features // self.heads)
        count = zeros.new_zeros(batch, 1, dtype=torch.int64)
        return {
            "count": count,
            "keys": zeros,
            "values": zeros.clone(),
            **{f"k_{name}": value for name, value in self.k.initial_state(batch).items()},
            **{f"v_{name}": value for name, value in self.v.initial_state(batch).items()},
        }


def attamba() -> StreamModel:
    """The small configuration of the catalogue: chunks of 8 frames, 255 of them: 2048 frames."""
    return small(lambda _: Attamba(32, heads=2, chunk=8, slots=255))
