"""Linear attention that is normed instead of divided: TransNormer, and Lightning attention with fixed decays.

Sources: Qin et al., "The Devil in Linear Transformer" (EMNLP 2022) and "TransNormerLLM" (2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import RMSNorm
from millstream_models.core.shell import Mixer, State, StreamModel, small


def lightning_decays(heads: int, layer: int, layers: int) -> list[float]:
    """exp(-(8 h / heads) (1 - layer / layers)) for head h: head 0 never decays, deep layers decay less."""
    return [math.exp(-8 * head / heads * (1 - layer / layers)) for head in range(heads)]


class NormAttention(Mixer):
    """S' = γ S + k vᵀ with q, k = silu of their projections; o = norm(Sᵀ q), gated. γ is fixed per head."""

    decay: Tensor

    def __init__(self, width: int, heads: int, decays: Sequence[float]) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.gate, self.out = (nn.Linear(width, width, bias=False) for _ in range(5))
        self.norm = RMSNorm(width)
        self.register_buffer("decay", torch.tensor(decays).unsqueeze(-1), persistent=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        decay = self.decay.expand_as(v[..., :1])
        o, memory = form.recur(functional.silu(q), functional.silu(k), v, decay, state["memory"])
        return self.out(torch.sigmoid(self.gate(x)) * self.norm(join(o))), {"memory": memory}

    def initial_state(self, batch: int) -> State:
        width = self.q.out_features // self.heads
        return {"memory": self.q.weight.new_zeros(batch, self.heads, width, width)}


def transnormer() -> StreamModel:
    """The small configuration of the catalogue without decay."""
    return small(lambda _: NormAttention(32, 2, [1.0, 1.0]))


def lightning() -> StreamModel:
    """The small configuration of the catalogue with Lightning's decays."""
    return small(lambda layer: NormAttention(32, 2, lightning_decays(2, layer, 2)))
