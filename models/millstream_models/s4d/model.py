"""S4D: a time-invariant state space, diagonal and complex, one per channel.

Source: Gu, Gupta, Goel and Ré, "On the Parameterization and Initialization of Diagonal State Space Models"
(NeurIPS 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.shell import Block, Mixer, State, StreamModel, small_stack


class Complex(NamedTuple):
    """A complex tensor as its two parts: a step graph has no complex numbers."""

    real: Tensor
    imaginary: Tensor

    def __mul__(self, other: Complex) -> Complex:  # type: ignore[override]
        real = self.real * other.real - self.imaginary * other.imaginary
        return Complex(real, self.real * other.imaginary + self.imaginary * other.real)

    def reciprocal(self) -> Complex:
        """1 / z."""
        size = self.real * self.real + self.imaginary * self.imaginary
        return Complex(self.real / size, -self.imaginary / size)


Discretization = Callable[[Tensor, Complex], tuple[Complex, Complex]]


def zero_order_hold(step: Tensor, a: Complex) -> tuple[Complex, Complex]:
    """e^(Δ A), and (e^(Δ A) - 1) / A as the gain of the input; Δ (C, 1), A (C, N)."""
    size, angle = torch.exp(step * a.real), step * a.imaginary
    transition = Complex(size * torch.cos(angle), size * torch.sin(angle))
    return transition, Complex(transition.real - 1, transition.imaginary) * a.reciprocal()


def bilinear(step: Tensor, a: Complex) -> tuple[Complex, Complex]:
    """(1 + Δ A / 2) / (1 - Δ A / 2), and Δ / (1 - Δ A / 2)."""
    half = Complex(step * a.real / 2, step * a.imaginary / 2)
    below = Complex(1 - half.real, -half.imaginary).reciprocal()
    return Complex(1 + half.real, half.imaginary) * below, Complex(step * below.real, step * below.imaginary)


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
        past = (state["real"], state["imaginary"])
        y, real, imaginary = form.oscillate(x, *transition, *read, *past)
        y = functional.gelu(y + self.skip * x)
        return functional.glu(self.out(y), -1), {"real": real, "imaginary": imaginary}

    def _discrete(self) -> tuple[Complex, Complex]:
        """Ā and 2 C B̄, both (width, order / 2)."""
        a = Complex(-torch.exp(self.log_damping), self.frequency)
        transition, gain = self.discretize(torch.exp(self.log_step).unsqueeze(-1), a)
        return transition, Complex(2 * self.read[..., 0], 2 * self.read[..., 1]) * gain

    def initial_state(self, batch: int) -> State:
        zeros = self.frequency.new_zeros(batch, *self.frequency.shape)
        return {"real": zeros, "imaginary": zeros.clone()}


def s4d() -> StreamModel:
    """The small configuration of the catalogue, discretised by a zero-order hold."""
    return small_stack(lambda _: Block(32, S4D(32, order=16)))


def s4d_bilinear() -> StreamModel:
    """The same, discretised by the bilinear rule."""
    return small_stack(lambda _: Block(32, S4D(32, order=16, discretize=bilinear)))
