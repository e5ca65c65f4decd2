"""S4D: a time-invariant state space, diagonal and complex, one per channel.

Source: Gu, Gupta, Goel and Ré, "On the Parameterization and Initialization of Diagonal State Space Models"
(NeurIPS 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.shell import Block, Mixer, State, StreamModel, small_stack


def zero_order_hold(step: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """e^(Δ A), and (e^(Δ A) - 1) / A as the gain of the input."""
    transition = torch.exp(step * a)
    return transition, (transition - 1) / a


def bilinear(step: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """(1 + Δ A / 2) / (1 - Δ A / 2), and Δ / (1 - Δ A / 2)."""
    below = 1 - step * a / 2
    return (1 + step * a / 2) / below, step / below


Discretization = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class S4D(Mixer):
    """x' = Ā x + u and y = 2 Re(C B̄ x') + D u per channel; then GELU, and a gated linear layer.

    Only half of the conjugate pairs is kept. The input's gain B̄ is moved into the read.
    """

    def __init__(self, width: int, order: int = 64, discretize: Discretization = zero_order_hold) -> None:
        super().__init__()
        self.discretize = discretize
        self.log_step = nn.Parameter(torch.empty(width).uniform_(math.log(1e-3), math.log(0.1)))
        self.log_damping = nn.Parameter(torch.full((width, order // 2), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(order // 2).float().repeat(width, 1))
        self.read = nn.Parameter(torch.randn(width, order // 2, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.randn(width))
        self.out = nn.Linear(width, 2 * width)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        transition, read = self._discrete()
        y, real, imaginary = form.oscillate(
            x, transition.real, transition.imag, read.real, read.imag, state["real"], state["imaginary"]
        )
        y = functional.gelu(y + self.skip * x)
        return functional.glu(self.out(y), -1), {"real": real, "imaginary": imaginary}

    def _discrete(self) -> tuple[Tensor, Tensor]:
        """Ā and 2 C B̄, complex (width, order / 2)."""
        a = torch.complex(-torch.exp(self.log_damping), self.frequency)
        transition, gain = self.discretize(torch.exp(self.log_step).unsqueeze(-1), a)
        return transition, 2 * torch.complex(self.read[..., 0], self.read[..., 1]) * gain

    def initial_state(self, batch: int) -> State:
        zeros = self.frequency.new_zeros(batch, *self.frequency.shape)
        return {"real": zeros, "imaginary": zeros.clone()}


def s4d() -> StreamModel:
    """The small configuration of the catalogue, discretised by a zero-order hold."""
    return small_stack(lambda _: Block(32, S4D(32, order=16)))


def s4d_bilinear() -> StreamModel:
    """The same, discretised by the bilinear rule."""
    return small_stack(lambda _: Block(32, S4D(32, order=16, discretize=bilinear)))
