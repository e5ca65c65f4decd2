"""Retention: linear attention with one fixed decay per head and rotary positions.

Source: Sun et al., "Retentive Network: A Successor to Transformer for Large Language Models" (2023); ViR
(Hatamizadeh et al., 2023) is the same mixer over image patches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import RMSNorm
from millstream_models.core.parts.rotary import angles, frequencies, positions, rotate
from millstream_models.core.shell import Mixer, State, StreamModel, small


class Retention(Mixer):
    """S' = γ S + k vᵀ with γ = 1 - 2^(-5 - head), q and k turned by their position, values twice as wide."""

    decay: Tensor
    frequency: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.v, self.gate = (nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.norm = RMSNorm(2 * width // heads)
        self.out = nn.Linear(2 * width, width, bias=False)
        decay = 1 - 2.0 ** (-5 - torch.arange(heads))
        self.register_buffer("decay", decay.unsqueeze(-1), persistent=False)
        self.register_buffer("frequency", frequencies(width // heads), persistent=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        position, count = positions(x, state["count"], form)
        angle = angles(position, self.frequency, x.dtype).unsqueeze(-2)
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        q = rotate(q, angle) * q.shape[-1] ** -0.5
        decay = self.decay.expand_as(v[..., :1])
        o, memory = form.recur(q, rotate(k, angle), v, decay, state["memory"])
        y = self.out(join(self.norm(o)) * functional.silu(self.gate(x)))
        return y, {"memory": memory, "count": count}

    def initial_state(self, batch: int) -> State:
        keys, values = self.q.out_features // self.heads, self.v.out_features // self.heads
        memory = self.q.weight.new_zeros(batch, self.heads, values, keys)
        return {"memory": memory, "count": memory.new_zeros(batch, 1, dtype=torch.int64)}


def retnet() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: Retention(32, heads=2))
