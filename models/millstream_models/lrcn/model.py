"""LRCN: a convolutional network looks at every frame by itself, and an LSTM remembers.

Source: Donahue et al., "Long-term Recurrent Convolutional Networks for Visual Recognition and Description"
(CVPR 2015); the LSTM is that of Hochreiter and Schmidhuber (1997) with a forget gate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.shell import Mixer, State, StreamModel
from millstream_models.core.shell.small import OUTPUTS, WIDTH, seeded


class FrameNetwork(nn.Module):
    """Two convolutions over the pixels of one frame (..., height * width), to (..., channels)."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.out = nn.Linear(8 * height * width, channels)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.reshape(-1, 1, self.height, self.width)
        hidden = torch.relu(self.second(torch.relu(self.first(pixels)))).flatten(1)
        return self.out(hidden.reshape(*x.shape[:-1], hidden.shape[-1]))


class LSTM(Mixer):
    """c' = f c + i tanh(z), h' = o tanh(c'); all four gates read x and h, so there is no parallel form."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input = nn.Linear(width, 4 * width)
        self.recurrent = nn.Linear(width, 4 * width, bias=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        h, (cell, hidden) = form.loop(self._cell, (self.input(x),), (state["cell"], state["hidden"]))
        return h, {"cell": cell, "hidden": hidden}

    def _cell(
        self, inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        cell, hidden = state
        write, forget, value, read = (inputs[0] + self.recurrent(hidden)).chunk(4, -1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(write) * torch.tanh(value)
        hidden = torch.sigmoid(read) * torch.tanh(cell)
        return hidden, (cell, hidden)

    def initial_state(self, batch: int) -> State:
        zeros = self.recurrent.weight.new_zeros(batch, self.recurrent.in_features)
        return {"cell": zeros, "hidden": zeros.clone()}


def lrcn() -> StreamModel:
    """The small configuration of the catalogue: frames of 3 x 4 pixels, one LSTM."""
    return seeded(lambda: StreamModel(FrameNetwork(3, 4, WIDTH), [LSTM(WIDTH)], WIDTH, OUTPUTS))
