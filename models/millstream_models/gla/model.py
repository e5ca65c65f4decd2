"""Gated linear attention: a matrix state per head whose key channels each decay by a gate of the input.

Source: Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient Training" (ICML 2024). The
README beside this file tells the maths and the traps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import RMSNorm
from millstream_models.core.shell import Mixer, State, StreamModel, small

#: The gate is a sigmoid to the power of 1/16: decays begin close to 1.
GATE_ROOT = 16


class GatedLinearAttention(Mixer):
    """S' = Diag(α) S + k vᵀ, o = Sᵀ q / sqrt(K); α = sigmoid(low-rank map of x)^(1/16), per key channel."""

    def __init__(self, width: int, heads: int, key_width: int | None = None, rank: int = 16) -> None:
        super().__init__()
        self.heads = heads
        self.keys = key_width or width // 2
        self.q = nn.Linear(width, self.keys, bias=False)
        self.k = nn.Linear(width, self.keys, bias=False)
        self.v = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, width, bias=False)
        self.decay = nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, self.keys))
        self.norm = RMSNorm(width // heads)
        self.out = nn.Linear(width, width, bias=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        decay = split(torch.exp(functional.logsigmoid(self.decay(x)) / GATE_ROOT), self.heads)
        o, memory = form.recur(q * (self.keys // self.heads) ** -0.5, k, v, decay, state["memory"])
        return self.out(join(self.norm(o)) * functional.silu(self.gate(x))), {"memory": memory}

    def initial_state(self, batch: int) -> State:
        shape = (batch, self.heads, self.v.out_features // self.heads, self.keys // self.heads)
        return {"memory": self.out.weight.new_zeros(shape)}


def gla() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: GatedLinearAttention(32, heads=2))
