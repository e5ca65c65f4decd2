"""Liger: a softmax transformer's own projections, run as gated linear attention beside a sliding window.

Source: Lan et al., "Liger: Linearizing Large Language Models to Gated Recurrent Structures" (ICML 2025).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.partial_softmax import finish
from millstream_models.core.parts.rotary import frequencies, positions
from millstream_models.core.parts.window_attention import attend_window, initial_count, initial_rings
from millstream_models.core.shell import Mixer, State, StreamModel, small


class Liger(Mixer):
    """o = ½ gated linear attention + ½ softmax attention over a window, from the same q, k and v.

    The linear half takes softmax(q) and softmax(k) over the head, decays by sigmoid(k)^(1/16), and knows no
    positions; the window has rotary positions. Nothing is added to the transformer's parameters.
    """

    frequency: Tensor

    def __init__(self, width: int, heads: int, window: int = 64) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.register_buffer("frequency", frequencies(width // heads), persistent=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        decay = torch.exp(functional.logsigmoid(k) / 16)
        o, memory = form.recur(torch.softmax(q, -1), torch.softmax(k, -1), v, decay, state["memory"])
        position, count = positions(x, state["count"], form)
        rings = (state["keys"], state["values"])
        near, (keys, values) = attend_window(
            form, q * q.shape[-1] ** -0.5, k, v, self.frequency, position, 0, rings
        )
        after = {"memory": memory, "count": count, "keys": keys, "values": values}
        return self.out(join(o + finish(near)) / 2), after

    def initial_state(self, batch: int) -> State:
        weight, width = self.q.weight, self.q.out_features // self.heads
        return {
            "memory": weight.new_zeros(batch, self.heads, width, width),
            "count": initial_count(weight, batch),
            **initial_rings(weight, batch, self.window, self.heads, width),
        }


def liger() -> StreamModel:
    """The small configuration of the catalogue, with a window of 8 frames."""
    return small(lambda _: Liger(32, heads=2, window=8))
