"""QRNN: gates from a convolution over time, and a pooling that needs no matrix.

Source: Bradbury, Merity, Xiong and Socher, "Quasi-Recurrent Neural Networks" (ICLR 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.shell import Mixer, State, StreamModel, small


class QRNN(Mixer):
    """c' = f c + (1 - f) tanh(z), h = sigmoid(o) c'; z, f and o are linear in the last `taps` frames."""

    def __init__(self, width: int, taps: int = 2) -> None:
        super().__init__()
        self.taps = taps
        self.gates = nn.Linear(taps * width, 3 * width)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        window, ring = form.window(x, state["ring"])
        value, forget, read = self.gates(window.flatten(-2)).chunk(3, -1)
        forget = torch.sigmoid(forget).unsqueeze(-1)
        written = (1 - forget) * torch.tanh(value).unsqueeze(-1)
        one = torch.ones_like(written)
        c, memory = form.recur(one, one, written, forget, state["cell"].unflatten(-1, (-1, 1, 1)))
        return torch.sigmoid(read) * c.squeeze(-1), {"ring": ring, "cell": memory.flatten(1)}

    def initial_state(self, batch: int) -> State:
        width = self.gates.in_features // self.taps
        ring = self.gates.weight.new_zeros(batch, self.taps - 1, width)
        return {"ring": ring, "cell": ring.new_zeros(batch, width)}


def qrnn() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: QRNN(32))
