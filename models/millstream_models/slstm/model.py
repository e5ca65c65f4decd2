"""sLSTM: the LSTM of xLSTM with exponential gates and a recurrence through its output.

Source: Beck et al., "xLSTM: Extended Long Short-Term Memory" (NeurIPS 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.forms.gating import NOTHING, stabilize
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import HeadLayerNorm
from millstream_models.core.shell import Mixer, State, StreamModel, small


class SLSTM(Mixer):
    """c' = f c + i tanh(z), n' = f n + i, h' = sigmoid(o) c' / n'; all four read x and, per head, h.

    As h goes into the gates there is no parallel form: a sequence is a loop.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inlet = nn.Linear(width, 4 * width)
        head = width // heads
        self.recurrent = nn.Parameter(torch.randn(heads, 4 * head, head) * head**-0.5)
        self.norm = HeadLayerNorm(heads, head)
        self.out = nn.Linear(width, width, bias=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        names = ("cell", "normalizer", "maximum", "hidden")
        h, after = form.loop(self._cell, (self.inlet(x),), tuple(state[name] for name in names))
        return self.out(join(self.norm(h))), dict(zip(names, after, strict=True))

    def _cell(
        self, inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The inlet's four parts (B, 4 width), and four states (B, H, D)."""
        cell, normalizer, maximum, hidden = state
        driven = split(inputs[0], self.heads)
        raw = driven + torch.matmul(self.recurrent, hidden.unsqueeze(-1)).squeeze(-1)
        value, write, forget, read = raw.chunk(4, -1)
        forget, write, maximum = stabilize(functional.logsigmoid(forget), write, maximum)
        cell = forget * cell + write * torch.tanh(value)
        normalizer = forget * normalizer + write
        hidden = torch.sigmoid(read) * cell / normalizer
        return hidden, (cell, normalizer, maximum, hidden)

    def initial_state(self, batch: int) -> State:
        zeros = self.out.weight.new_zeros(batch, self.heads, self.recurrent.shape[2])
        nothing = torch.full_like(zeros, NOTHING)
        return {"cell": zeros, "normalizer": zeros.clone(), "maximum": nothing, "hidden": zeros.clone()}


def slstm() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: SLSTM(32, heads=2))
