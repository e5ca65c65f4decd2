"""Mamba: a diagonal state space whose step size, input and output depend on the frame.

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.short_convolution import ShortConvolution
from millstream_models.core.shell import Block, Mixer, State, StreamModel, small_stack


def positive_decay(log_decay: Tensor) -> Tensor:
    """e^(Δ A), between 0 and 1, as published."""
    return torch.exp(log_decay)


def signed_decay(log_decay: Tensor) -> Tensor:
    """2 e^(Δ A) - 1, between -1 and 1: states that can alternate.

    Source: Grazzi et al., "Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues" (ICLR 2025).
    """
    return 2 * torch.exp(log_decay) - 1


class Mamba(Mixer):
    """h' = e^(Δ A) h + Δ x Bᵀ per channel, y = h C + D x, gated by silu(z); Δ, B, C are read off x.

    Δ x is Euler's rule, not a zero-order hold: that is the model.
    """

    def __init__(self, width: int, order: int = 16, decay=positive_decay) -> None:
        super().__init__()
        self.decay = decay
        inner, rank = 2 * width, math.ceil(width / 16)
        self.inlet = nn.Linear(width, 2 * inner, bias=False)
        self.convolution = ShortConvolution(inner, bias=True)
        self.select = nn.Linear(inner, rank + 2 * order, bias=False)
        self.step_size = nn.Linear(rank, inner)
        self.a_log = nn.Parameter(torch.log(torch.arange(1.0, order + 1)).repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.out = nn.Linear(inner, width, bias=False)
        _start_step_size(self.step_size.bias)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        x, z = self.inlet(x).chunk(2, -1)
        x, ring = self.convolution.mix(x, state["ring"], form)
        order = self.a_log.shape[1]
        delta, b, c = self.select(x).split((self.step_size.in_features, order, order), -1)
        delta = functional.softplus(self.step_size(delta))
        decay = self.decay(delta.unsqueeze(-1) * -torch.exp(self.a_log))
        # Every channel is a head with a value of width 1; all share one key and one query.
        written = (delta * x).unsqueeze(-1)
        y, memory = form.recur(c.unsqueeze(-2), b.unsqueeze(-2), written, decay, state["memory"])
        y = (y.squeeze(-1) + self.skip * x) * functional.silu(z)
        return self.out(y), {"ring": ring, "memory": memory}

    def initial_state(self, batch: int) -> State:
        inner, order = self.a_log.shape
        memory = self.out.weight.new_zeros(batch, inner, 1, order)
        return {"ring": self.convolution.initial_ring(batch), "memory": memory}


def _start_step_size(bias: Tensor, low: float = 1e-3, high: float = 0.1) -> None:
    """Set a bias so that softplus(bias) is spread evenly in logarithm from `low` to `high`."""
    step = torch.exp(torch.rand_like(bias) * math.log(high / low) + math.log(low))
    with torch.no_grad():
        bias.copy_(step + torch.log(-torch.expm1(-step)))


def mamba() -> StreamModel:
    """The small configuration of the catalogue: blocks of a mixer alone, as published."""
    return small_stack(lambda _: Block(32, Mamba(32)))


def mamba_signed() -> StreamModel:
    """The same with decays between -1 and 1."""
    return small_stack(lambda _: Block(32, Mamba(32, decay=signed_decay)))
