"""HGRN2: a gated recurrence whose input gate is what the forget gate leaves over.

Source: Qin et al., "HGRN2: Gated Linear RNNs with State Expansion" (COLM 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import RMSNorm
from millstream_models.core.shell import Mixer, State, StreamModel, small


def lower_bounds(table: Tensor) -> Tensor:
    """The floor of the forget gate of every layer and channel, from a learned table, both (layers, width).

    cumsum over layers of a softmax over layers, less its first row: 0 in the first layer, rising with depth.
    """
    share = torch.softmax(table, 0)
    return share.cumsum(0) - share[0]


class HGRN2(Mixer):
    """S' = Diag(f) S + (1 - f) vᵀ, o = Sᵀ q; f = bound + (1 - bound) sigmoid(W x): the state never grows."""

    bound: Tensor

    def __init__(self, width: int, expansion: int, bound: Tensor) -> None:
        super().__init__()
        self.heads = width // expansion
        self.q, self.f, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.norm = RMSNorm(width)
        self.register_buffer("bound", bound)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        forget = self.bound + (1 - self.bound) * torch.sigmoid(self.f(x))
        q, forget, v = (split(y, self.heads) for y in (functional.silu(self.q(x)), forget, self.v(x)))
        o, memory = form.recur(q, 1 - forget, v, forget, state["memory"])
        return self.out(self.norm(join(o))), {"memory": memory}

    def initial_state(self, batch: int) -> State:
        width = self.q.out_features // self.heads
        return {"memory": self.q.weight.new_zeros(batch, self.heads, width, width)}


def hgrn2() -> StreamModel:
    """The small configuration of the catalogue; the bounds are those of an even table."""
    bounds = lower_bounds(torch.zeros(2, 32))
    return small(lambda layer: HGRN2(32, 16, bounds[layer].clone()))
