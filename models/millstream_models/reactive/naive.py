"""The slot memory with every turn's frames at hand: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, sigmoid, softmax
from millstream_models.reactive.model import SlotMemory


def naive(mixer: SlotMemory, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    slots, turn, outputs = list(mixer.start), [], []
    for frame in x:
        keys, values = ([linear(layer, slot) for slot in slots] for layer in (mixer.k, mixer.v))
        outputs.append(linear(mixer.out, _attention(mixer, linear(mixer.q, frame), keys, values)))
        turn.append(frame)
        if len(turn) == mixer.turn:
            keys, values = ([linear(f, old) for old in turn] for f in (mixer.frame_k, mixer.frame_v))
            for number, slot in enumerate(slots):
                read = _attention(mixer, linear(mixer.slot_q, slot), keys, values)
                update = linear(mixer.slot_out, read)
                gate = sigmoid(linear(mixer.gate, torch.cat((slot, update))))
                slots[number] = (1 - gate) * slot + gate * update
            turn = []
    return torch.stack(outputs)


def _attention(mixer: SlotMemory, query: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
    read, heads = [], mixer.heads
    for head in range(heads):
        q = query.chunk(heads)[head]
        weights = softmax(torch.stack([q @ key.chunk(heads)[head] for key in keys]) / len(q) ** 0.5)
        read.append(sum(w * v.chunk(heads)[head] for w, v in zip(weights, values, strict=True)))
    return torch.cat(read)
