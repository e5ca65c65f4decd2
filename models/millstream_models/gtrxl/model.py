"""GTrXL: attention over the last frames, with a gate in the place of every residual sum.

Sources: Parisotto et al., "Stabilizing Transformers for Reinforcement Learning" (ICML 2020); Dai et al.,
"Transformer-XL" (ACL 2019) for the relative positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import RMSNorm
from millstream_models.core.parts.partial_softmax import attend, finish
from millstream_models.core.parts.rotary import frequencies, positions
from millstream_models.core.parts.window_attention import initial_count, initial_rings
from millstream_models.core.shell import Mixer, State, StreamModel
from millstream_models.core.shell.small import small_stack


class GatedResidual(nn.Module):
    """A GRU's gates between the stream x and the layer's output y; a positive bias begins near x alone."""

    def __init__(self, width: int, bias: float = 2.0) -> None:
        super().__init__()
        self.of_output = nn.Linear(width, 3 * width, bias=False)
        self.of_stream = nn.Linear(width, 2 * width, bias=False)
        self.of_reset = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.full((width,), bias))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        reset, update, new = self.of_output(y).chunk(3, -1)
        stream_reset, stream_update = self.of_stream(x).chunk(2, -1)
        reset = torch.sigmoid(reset + stream_reset)
        update = torch.sigmoid(update + stream_update - self.bias)
        new = torch.tanh(new + self.of_reset(reset * x))
        return (1 - update) * x + update * new


class GTrXLBlock(Mixer):
    """x = gate(x, relu(attention(norm x))); gate(x, relu(feed-forward(norm x))).

    The score of a frame at distance d is (q + u) · k + (q + b) · W r(d), with r a sinusoid and u, b learned.
    """

    distances: Tensor

    def __init__(self, width: int, heads: int, window: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(2))
        self.q, self.k, self.v, self.out, self.relative = (
            nn.Linear(width, width, bias=False) for _ in range(5)
        )
        self.content_bias, self.place_bias = (
            nn.Parameter(torch.randn(heads, width // heads)) for _ in range(2)
        )
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        gates = nn.ModuleList(GatedResidual(width) for _ in range(2))
        self.gates = cast("Sequence[GatedResidual]", gates)  # to a type checker it holds modules
        angle = torch.arange(window - 1, -1, -1).unsqueeze(-1) * frequencies(width)
        sinusoid = torch.cat((torch.sin(angle), torch.cos(angle)), -1)
        self.register_buffer("distances", sinusoid, persistent=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        attended, state = self._attend(self.norms[0](x), state, form)
        x = self.gates[0](x, torch.relu(attended))
        return self.gates[1](x, torch.relu(self.feed_forward(self.norms[1](x)))), state

    def _attend(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        position, count = positions(x, state["count"], form)
        keys, key_ring = form.window(k, state["keys"])
        values, value_ring = form.window(v, state["values"])
        places = split(self.relative(self.distances.to(x.dtype)), self.heads).expand_as(keys)
        scale = q.shape[-1] ** -0.5
        query = torch.cat(((q + self.content_bias) * scale, (q + self.place_bias) * scale), -1)
        visible = position >= torch.arange(self.window - 1, -1, -1, device=x.device)
        o = finish(attend(query, torch.cat((keys, places), -1), values, visible))
        return self.out(join(o)), {"count": count, "keys": key_ring, "values": value_ring}

    def initial_state(self, batch: int) -> State:
        weight, width = self.q.weight, self.q.out_features // self.heads
        rings = initial_rings(weight, batch, self.window, self.heads, width)
        return {"count": initial_count(weight, batch), **rings}


def gtrxl() -> StreamModel:
    """The small configuration of the catalogue, with a window of 6 frames."""
    return small_stack(lambda _: GTrXLBlock(32, heads=2, window=6, hidden=64))
