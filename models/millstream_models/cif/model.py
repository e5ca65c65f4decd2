"""Continuous integrate-and-fire: frames are summed by weight until they make one token.

Sources: Dong and Xu, "CIF: Continuous Integrate-and-Fire for End-to-End Speech Recognition" (ICASSP 2020);
Gao et al., "Paraformer" (Interspeech 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.shell import Mixer, State, StreamModel, small


class IntegrateAndFire(Mixer):
    """Σ α x until Σ α reaches 1; then the sum is a token, and the rest of α begins the next.

    α = sigmoid(w · relu(causal convolution)), at most 1, so a frame fires once at most. The output is the
    token where one fires and zero elsewhere, with a flag of 1 in front; `out` maps both to the width.
    """

    def __init__(self, width: int, taps: int = 3) -> None:
        super().__init__()
        self.taps = taps
        self.look = nn.Linear(taps * width, width)
        self.weight = nn.Linear(width, 1)
        self.out = nn.Linear(1 + width, width)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        window, ring = form.window(x, state["ring"])
        share = torch.sigmoid(self.weight(torch.relu(self.look(window.flatten(-2)))))
        fired, (weight, token) = form.loop(_cell, (x, share), (state["weight"], state["token"]))
        return self.out(fired), {"ring": ring, "weight": weight, "token": token}

    def initial_state(self, batch: int) -> State:
        width = self.look.out_features
        zeros = self.look.weight.new_zeros(batch, width)
        ring = zeros.new_zeros(batch, self.taps - 1, width)
        return {"ring": ring, "weight": zeros[:, :1].clone(), "token": zeros}


def _cell(inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(x, α) and (Σ α, Σ α x) -> flag and token, and the sums after them."""
    x, share = inputs
    weight, token = state
    fires = weight + share >= 1
    used = torch.where(fires, 1 - weight, share)
    full = token + used * x
    rest = share - used
    flag = fires.to(x.dtype)
    y = torch.cat((flag, flag * full), -1)
    after = (torch.where(fires, rest, weight + share), torch.where(fires, rest * x, full))
    return y, after


def cif() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: IntegrateAndFire(32))
