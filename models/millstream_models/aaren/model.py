"""Aaren: attention as a recurrence. The query is a constant, so softmax over all frames so far is a running
one.

Source: Feng et al., "Attention as an RNN" (2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.forms.gating import NOTHING
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.normalizer import initial_memory, with_ones
from millstream_models.core.shell import Mixer, State, StreamModel, small


class Aaren(Mixer):
    """o = sum_j e^(s_j) v_j / sum_j e^(s_j) over frames j <= t, with s = q · k / sqrt(D) and a learned q."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, width // heads))
        self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(3))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        k, v = split(self.k(x), self.heads), split(self.v(x), self.heads)
        score = (k * self.query).sum(-1) * k.shape[-1] ** -0.5
        decay, write, _, last = form.stabilize(torch.zeros_like(score), score, state["maximum"])
        # A key of width 1: its query is 1, so the read is the state itself.
        one = torch.ones_like(write).unsqueeze(-1)
        o, memory = form.recur(one, write.unsqueeze(-1), with_ones(v), decay.unsqueeze(-1), state["memory"])
        return self.out(join(o[..., :-1] / o[..., -1:])), {"maximum": last, "memory": memory}

    def initial_state(self, batch: int) -> State:
        heads, width = self.query.shape
        maximum = self.query.new_full((batch, heads), NOTHING)
        return {"maximum": maximum, "memory": initial_memory(self.query, batch, heads, width, 1)}


def aaren() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: Aaren(32, heads=2))
