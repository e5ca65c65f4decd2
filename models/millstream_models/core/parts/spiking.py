"""Leaky integrate-and-fire neurons that unroll along the frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form

#: Steepness of the sigmoid whose slope stands for the slope of a spike in training.
STEEPNESS = 4.0


class LeakyIntegrateAndFire(nn.Module):
    """H = V + (x - V) / 2; a spike where H >= threshold; then V = 0 where it spiked and H elsewhere.

    The membrane loses half of its charge each frame, so a step is one addition and one halving. There is no
    parallel form: a sequence is a loop.
    """

    def __init__(self, threshold: float = 1.0) -> None:
        super().__init__()
        self.threshold = threshold

    def mix(self, x: Tensor, membrane: Tensor, form: Form) -> tuple[Tensor, Tensor]:
        """Currents (..., C) and membranes (B, C) -> spikes of 0 and 1, and the next membranes."""
        spikes, (membrane,) = form.loop(self._cell, (x,), (membrane,))
        return spikes, membrane

    def _cell(
        self, inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        charged = state[0] + (inputs[0] - state[0]) / 2
        spike = (charged >= self.threshold).to(charged.dtype)
        if self.training:
            soft = torch.sigmoid(STEEPNESS * (charged - self.threshold))
            spike = spike + soft - soft.detach()
        return spike, (charged * (1 - spike),)
