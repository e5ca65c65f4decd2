"""Reactive Transformer memory: a fixed number of slots, read at every frame and rewritten at the end of a
turn.

Source: Filipek, "Reactive Transformer (RxT)" (2025). Published turns are messages; here a turn is a fixed
number of frames, counted in the state.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.forms.gating import NOTHING
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.partial_softmax import Partial, attend, merge
from millstream_models.core.shell import Mixer, State, StreamModel, small


class SlotMemory(Mixer):
    """Cross-attention to S slots; after `turn` frames, slots = (1 - g) slots + g attention(slots, turn's
    frames).

    What the slots will see of the turn is a running softmax per slot, so no frame of the turn is kept.
    """

    def __init__(self, width: int, heads: int, slots: int, turn: int) -> None:
        super().__init__()
        self.heads, self.turn = heads, turn
        self.start = nn.Parameter(torch.randn(slots, width))
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.slot_q, self.frame_k, self.frame_v, self.slot_out = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.gate = nn.Linear(2 * width, width)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        names = ("slots", "maximum", "weighted", "total", "place")
        inputs = tuple(split(layer(x), self.heads) for layer in (self.q, self.frame_k, self.frame_v))
        o, after = form.loop(self._cell, inputs, tuple(state[name] for name in names))
        return self.out(join(o)), dict(zip(names, after, strict=True))

    def _cell(
        self, inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        q, key, value = inputs
        slots, maximum, weighted, total, place = state
        scale = q.shape[-1] ** -0.5
        keys, values = split(self.k(slots), self.heads), split(self.v(slots), self.heads)
        seen = attend(q * scale, keys, values, torch.ones_like(slots[..., 0], dtype=torch.bool))
        # Every slot asks, and the one key is the frame's.
        asked = split(self.slot_q(slots), self.heads)
        score = (asked * key.unsqueeze(1)).sum(-1, keepdim=True) * scale
        frame = Partial(score, value.unsqueeze(1).expand_as(asked), torch.ones_like(score))
        turn = merge(Partial(maximum, weighted, total), frame)
        place = torch.where(place + 1 == self.turn, 0, place + 1)
        ended = (place == 0).unsqueeze(-1)
        slots = torch.where(ended, self._rewritten(slots, turn), slots)
        ended = ended.unsqueeze(-1)
        after = Partial(
            torch.where(ended, NOTHING, turn.maximum),
            torch.where(ended, 0.0, turn.weighted),
            torch.where(ended, 0.0, turn.total),
        )
        return seen.weighted / seen.total, (slots, *after, place)

    def _rewritten(self, slots: Tensor, turn: Partial) -> Tensor:
        update = self.slot_out(join(turn.weighted / turn.total))
        gate = torch.sigmoid(self.gate(torch.cat((slots, update), -1)))
        return (1 - gate) * slots + gate * update

    def initial_state(self, batch: int) -> State:
        slots, width = self.start.shape
        weighted = self.start.new_zeros(batch, slots, self.heads, width // self.heads)
        total = weighted[..., :1].clone()
        return {
            "slots": self.start.expand(batch, slots, width).clone(),
            "maximum": torch.full_like(total, NOTHING),
            "weighted": weighted,
            "total": total,
            "place": total.new_zeros(batch, 1, dtype=torch.int64),
        }


def reactive() -> StreamModel:
    """The small configuration of the catalogue: 4 slots, turns of 5 frames."""
    return small(lambda _: SlotMemory(32, heads=2, slots=4, turn=5))
