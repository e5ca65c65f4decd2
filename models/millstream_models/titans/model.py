"""Titans with a linear memory: a matrix that is trained, frame by frame, to map keys to values.

Source: Behrouz, Zhong and Mirrokni, "Titans: Learning to Memorize at Test Time" (2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import RMSNorm, unit
from millstream_models.core.shell import Mixer, State, StreamModel, small


class NeuralMemory(Mixer):
    """P' = η P - θ ∇|M k - v|², M' = (1 - α) M + P', o = M' q; η, θ and α are gates of the input, per head.

    The gradient is taken at the memory as it stood when the chunk began: the chunk is part of the model, and
    the memory of its start part of the state.
    """

    def __init__(self, width: int, heads: int, chunk: int) -> None:
        super().__init__()
        self.heads, self.chunk = heads, chunk
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gates = nn.Linear(width, 3 * heads)
        self.norm = RMSNorm(width // heads)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        gates = torch.sigmoid(self.gates(x)).unflatten(-1, (3, self.heads, 1, 1))
        names = ("memory", "momentum", "chunk_start", "place")
        inputs = (unit(q), unit(k), v, gates)
        o, after = form.loop(self._cell, inputs, tuple(state[name] for name in names))
        return self.out(join(self.norm(o))), dict(zip(names, after, strict=True))

    def _cell(
        self, inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        q, k, v, gates = inputs
        memory, momentum, start, place = state
        keep, rate, forget = gates.unbind(1)
        start = torch.where((place == 0)[..., None, None], memory, start)
        error = torch.matmul(start, k.unsqueeze(-1)) - v.unsqueeze(-1)
        momentum = keep * momentum - rate * 2 * error * k.unsqueeze(-2)
        memory = (1 - forget) * memory + momentum
        place = torch.where(place + 1 == self.chunk, 0, place + 1)
        return torch.matmul(memory, q.unsqueeze(-1)).squeeze(-1), (memory, momentum, start, place)

    def initial_state(self, batch: int) -> State:
        width = self.out.in_features // self.heads
        zeros = self.out.weight.new_zeros(batch, self.heads, width, width)
        place = zeros.new_zeros(batch, 1, dtype=torch.int64)
        return {"memory": zeros, "momentum": zeros.clone(), "chunk_start": zeros.clone(), "place": place}


def titans() -> StreamModel:
    """The small configuration of the catalogue, with chunks of 4 frames."""
    return small(lambda _: NeuralMemory(32, heads=2, chunk=4))
