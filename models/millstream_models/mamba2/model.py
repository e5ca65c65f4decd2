"""Mamba-2: the selective state space with one decay per head, so that it is also a masked attention.

Source: Dao and Gu, "Transformers are SSMs" (ICML 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import RMSNorm
from millstream_models.core.parts.short_convolution import ShortConvolution
from millstream_models.core.shell import Block, Mixer, State, StreamModel, small_stack


class Mamba2(Mixer):
    """h' = e^(Δ A) h + (Δ x) Bᵀ, y = h C + D x, then norm(y silu(z)); one A, Δ and D per head.

    All heads share B and C. The gate comes before the norm.
    """

    def __init__(self, width: int, head_width: int = 64, order: int = 128) -> None:
        super().__init__()
        inner = 2 * width
        self.heads, self.order = inner // head_width, order
        self.inlet = nn.Linear(width, 2 * inner + 2 * order + self.heads, bias=False)
        self.convolution = ShortConvolution(inner + 2 * order, bias=True)
        self.a_log = nn.Parameter(torch.log(torch.empty(self.heads).uniform_(1, 16)))
        self.step_bias = nn.Parameter(torch.empty(self.heads).uniform_(-5, -2))
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = RMSNorm(inner)
        self.out = nn.Linear(inner, width, bias=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        inner, order = self.out.in_features, self.order
        z, convolved, delta = self.inlet(x).split((inner, inner + 2 * order, self.heads), -1)
        convolved, ring = self.convolution.mix(convolved, state["ring"], form)
        x, b, c = convolved.split((inner, order, order), -1)
        delta = functional.softplus(delta + self.step_bias).unsqueeze(-1)
        decay = torch.exp(-delta * torch.exp(self.a_log).unsqueeze(-1))
        x = split(x, self.heads)
        y, memory = form.recur(c.unsqueeze(-2), b.unsqueeze(-2), delta * x, decay, state["memory"])
        y = join(y + self.skip.unsqueeze(-1) * x) * functional.silu(z)
        return self.out(self.norm(y)), {"ring": ring, "memory": memory}

    def initial_state(self, batch: int) -> State:
        shape = (batch, self.heads, self.out.in_features // self.heads, self.order)
        return {"ring": self.convolution.initial_ring(batch), "memory": self.out.weight.new_zeros(shape)}


def mamba2() -> StreamModel:
    """The small configuration of the catalogue: blocks of a mixer alone, as published."""
    return small_stack(lambda _: Block(32, Mamba2(32, head_width=16, order=16)))
