"""S4: a time-invariant state space whose matrix is diagonal plus rank one, discretised once.

Source: Gu, Goel and Ré, "Efficiently Modeling Long Sequences with Structured State Spaces" (ICLR 2022).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.shell import Block, Mixer, State, StreamModel, small_stack
from millstream_models.s4.hippo import legendre
from millstream_models.s4d.model import Complex


class S4(Mixer):
    """x' = Ā x + B̄ u, y = C x' + D u per channel, A = Λ - P Pᵀ; then GELU, and a gated linear layer.

    All channels share Λ, P and B, each has a step size, C and D of its own. Λ and B are complex and stand for
    themselves and their conjugates; P is real, as the phase of a mode is free. The bilinear rule keeps the
    shape: Ā is diagonal plus rank one as well.
    """

    def __init__(self, width: int, order: int = 64) -> None:
        super().__init__()
        frequency, factor, drive = legendre(order)
        dtype = torch.get_default_dtype()
        self.log_step = nn.Parameter(torch.empty(width).uniform_(math.log(1e-3), math.log(0.1)))
        self.log_damping = nn.Parameter(torch.full((order // 2,), math.log(0.5)))
        self.frequency = nn.Parameter(frequency.to(dtype))
        self.factor = nn.Parameter(factor.to(dtype))
        self.drive = nn.Parameter(torch.view_as_real(drive).to(dtype))
        self.read = nn.Parameter(torch.randn(width, order // 2, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.randn(width))
        self.out = nn.Linear(width, 2 * width)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        past = (state["real"], state["imaginary"])
        y, real, imaginary = form.oscillate_coupled(x, *self._discrete(), *past)
        y = functional.gelu(y + self.skip * x)
        return functional.glu(self.out(y), -1), {"real": real, "imaginary": imaginary}

    def _discrete(self) -> tuple[Tensor, ...]:
        """The diagonal of Ā, what its rank one writes and probes, and the read: parts of (width, order / 2).

        With R = (2/Δ - Λ)⁻¹ and g = 1 / (1 + Pᵀ R P), Woodbury's identity makes of the bilinear rule
        Ā = (4/Δ) R - 1 - (4 g/Δ) R P Pᵀ R, and of B̄ = 2 (2/Δ - A)⁻¹ B the vector 2 (R B - g R P Pᵀ R B). The
        state is kept in units of B̄, so that the input goes in as it is.
        """
        rate = 2 * torch.exp(-self.log_step).unsqueeze(-1)
        inverse = Complex(
            rate + torch.exp(self.log_damping), -self.frequency.expand(len(rate), -1)
        ).reciprocal()
        written = Complex(inverse.real * self.factor, inverse.imaginary * self.factor)
        gain = 1 / (1 + 2 * (self.factor * written.real).sum(-1, keepdim=True))
        drive = Complex(self.drive[:, 0], self.drive[:, 1])
        driven, found = inverse * drive, gain * 2 * (written * drive).real.sum(-1, keepdim=True)
        scale = Complex(
            2 * (driven.real - found * written.real), 2 * (driven.imaginary - found * written.imaginary)
        )
        diagonal = Complex(2 * rate * inverse.real - 1, 2 * rate * inverse.imaginary)
        probe = Complex(2 * written.real, 2 * written.imaginary) * scale
        write = (
            Complex(2 * rate * gain * written.real, 2 * rate * gain * written.imaginary) * scale.reciprocal()
        )
        read = Complex(2 * self.read[..., 0], 2 * self.read[..., 1]) * scale
        return (*diagonal, *write, *probe, *read)

    def initial_state(self, batch: int) -> State:
        zeros = self.read.new_zeros(batch, *self.read.shape[:2])
        return {"real": zeros, "imaginary": zeros.clone()}


def s4() -> StreamModel:
    """The small configuration of the catalogue."""
    return small_stack(lambda _: Block(32, S4(32, order=16)))
