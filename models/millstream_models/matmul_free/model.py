"""The MatMul-free language model: a gated recurrence of vectors between ternary linear layers.

Source: Zhu et al., "Scalable MatMul-free Language Modeling" (2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.norm import RMSNorm
from millstream_models.core.shell import Block, Mixer, State, StreamModel, small_stack
from millstream_models.hgrn2.model import lower_bounds
from millstream_models.matmul_free.ternary import TernaryLinear


class MLGRU(Mixer):
    """h' = f h + (1 - f) silu(c); out = W (norm(g) h' sigmoid(h')): the norm is on g, the swish on h."""

    bound: Tensor

    def __init__(self, width: int, bound: Tensor) -> None:
        super().__init__()
        self.f, self.c, self.g, self.out = (TernaryLinear(width, width) for _ in range(4))
        self.norm = RMSNorm(width)
        self.register_buffer("bound", bound)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        forget = self.bound + (1 - self.bound) * torch.sigmoid(self.f(x))
        # One number per channel is a head with a key and a value of width 1.
        written = ((1 - forget) * functional.silu(self.c(x))).unsqueeze(-1)
        one = torch.ones_like(written)
        h, memory = form.recur(
            one, one, written, forget.unsqueeze(-1), state["hidden"].unflatten(-1, (-1, 1, 1))
        )
        return self.out(self.norm(self.g(x)) * functional.silu(h.squeeze(-1))), {"hidden": memory.flatten(1)}

    def initial_state(self, batch: int) -> State:
        return {"hidden": self.bound.new_zeros(batch, self.bound.shape[0])}


class TernarySwiGLU(nn.Module):
    """down(silu(gate x) * up x) with ternary layers."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = (TernaryLinear(width, hidden) for _ in range(2))
        self.down = TernaryLinear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


def matmul_free() -> StreamModel:
    """The small configuration of the catalogue."""
    bounds = lower_bounds(torch.zeros(2, 32))
    return small_stack(lambda i: Block(32, MLGRU(32, bounds[i].clone()), TernarySwiGLU(32, 64)))
