"""Attention sinks and a window: softmax attention over the first frames and the last ones, in constant
memory.

Source: Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (ICLR 2024). LightTransfer's
lazy layers (Zhang et al., 2024) are the same mixer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.partial_softmax import attend, finish, merge
from millstream_models.core.parts.rotary import angles, frequencies, positions, rotate
from millstream_models.core.parts.window_attention import attend_window, initial_count, initial_rings
from millstream_models.core.shell import Mixer, State, StreamModel, small


class SinkAttention(Mixer):
    """Softmax over the first `sinks` and the last `window` frames, with positions counted in the cache.

    Among the last frames a distance is what it is. The sinks stand just before the window, wherever that is:
    the query's position is at most sinks + window - 1.
    """

    frequency: Tensor

    def __init__(self, width: int, heads: int, sinks: int = 4, window: int = 512) -> None:
        super().__init__()
        self.heads, self.sinks, self.window = heads, sinks, window
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.register_buffer("frequency", frequencies(width // heads), persistent=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        q = q * q.shape[-1] ** -0.5
        position, count = positions(x, state["count"], form)
        rings = (state["keys"], state["values"])
        near, (keys, values) = attend_window(form, q, k, v, self.frequency, position, self.sinks, rings)
        kept = (state["sink_keys"], state["sink_values"])
        (first_keys, first_values), (sink_keys, sink_values) = self._first(k, v, position, kept, form)
        slot = torch.arange(self.sinks, device=x.device)
        turned = rotate(first_keys, angles(slot.view(-1, 1, 1), self.frequency, x.dtype))
        place = angles(position.clamp(max=self.sinks + self.window - 1), self.frequency, x.dtype)
        far = attend(rotate(q, place.unsqueeze(-2)), turned, first_values, slot <= position)
        after = {"count": count, "keys": keys, "values": values}
        after.update(sink_keys=sink_keys, sink_values=sink_values)
        return self.out(join(finish(merge(near, far)))), after

    def _first(
        self, k: Tensor, v: Tensor, position: Tensor, kept: tuple[Tensor, Tensor], form: Form
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Keys and values of the first frames (..., sinks, H, D) as each frame sees them, and the last
        state.
        """

        def cell(inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            pair, here = inputs
            slot = torch.arange(self.sinks, device=here.device)
            present = torch.where((slot == here)[..., None, None, None], pair.unsqueeze(1), state[0])
            return present, (present,)

        pair = torch.stack((k, v), -3)
        seen, (last,) = form.loop(cell, (pair, position), (torch.stack(kept, 2),))
        keys, values = seen.unbind(-3)
        last_keys, last_values = last.unbind(2)
        return (keys, values), (last_keys, last_values)

    def initial_state(self, batch: int) -> State:
        weight, width = self.q.weight, self.q.out_features // self.heads
        zeros = weight.new_zeros(batch, self.sinks, self.heads, width)
        rings = initial_rings(weight, batch, self.window, self.heads, width)
        count = initial_count(weight, batch)
        return {"count": count, **rings, "sink_keys": zeros, "sink_values": zeros.clone()}


def sinks() -> StreamModel:
    """The small configuration of the catalogue: 2 sinks and a window of 6."""
    return small(lambda _: SinkAttention(32, heads=2, sinks=2, window=6))
