"""Incremental FastPitch: a feed-forward transformer block on chunks, with a bounded past.

Source: Du et al., "Incremental FastPitch: Chunk-based High Quality Text to Speech" (ICASSP 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import RMSNorm
from millstream_models.core.shell import Mixer, State, StreamModel
from millstream_models.core.shell.small import small_stack


class ChunkBlock(Mixer):
    """One step is a chunk of C columns. Attention sees the chunk and P columns before it; the feed-forward
    layer is two convolutions over columns, each with a ring of its last taps - 1.

    A frame (..., C * D) holds the chunk's columns one after the other. A chunk's columns see each other both
    ways. The columns before the first chunk are zeros and are not masked: training pads likewise.
    """

    def __init__(self, width: int, chunk: int, heads: int, past: int, hidden: int, taps: int = 3) -> None:
        super().__init__()
        self.chunk, self.heads, self.past, self.taps = chunk, heads, past, taps
        depth = width // chunk
        self.q, self.k, self.v, self.out = (nn.Linear(depth, depth) for _ in range(4))
        self.first = nn.Linear(taps * depth, hidden)
        self.second = nn.Linear(taps * hidden, depth)
        self.norms = nn.ModuleList(RMSNorm(depth) for _ in range(2))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        x = x.unflatten(-1, (self.chunk, -1))
        after: State = {}
        x = self.norms[0](x + self._attention(x, state, after, form))
        hidden = torch.relu(self._convolution(self.first, x, "first", state, after, form))
        x = self.norms[1](x + self._convolution(self.second, hidden, "second", state, after, form))
        return x.flatten(-2), after

    def _attention(self, x: Tensor, state: State, after: State, form: Form) -> Tensor:
        keys, after["keys"] = self._with_past(self.k(x), state["keys"], form)
        values, after["values"] = self._with_past(self.v(x), state["values"], form)
        q, keys, values = (split(y, self.heads).transpose(-3, -2) for y in (self.q(x), keys, values))
        weights = torch.softmax(torch.matmul(q, keys.mT) * q.shape[-1] ** -0.5, -1)
        return self.out(join(torch.matmul(weights, values).transpose(-3, -2)))

    def _convolution(
        self, layer: nn.Linear, x: Tensor, name: str, state: State, after: State, form: Form
    ) -> Tensor:
        columns, after[name] = self._with_past(x, state[name], form)
        windows = [columns[..., i : i + self.chunk, :] for i in range(self.taps)]
        return layer(torch.cat(windows, -1))

    def _with_past(self, x: Tensor, past: Tensor, form: Form) -> tuple[Tensor, Tensor]:
        """The chunk's columns (..., C, D) behind those before it; and the next past (B, P, D).

        The past may reach over several chunks: whole chunks are kept, and the columns too many are cut off.
        """
        count = past.shape[1]
        chunks = -(-count // self.chunk)
        padded = torch.cat(
            (past.new_zeros(past.shape[0], chunks * self.chunk - count, past.shape[2]), past), 1
        )
        window, ring = form.window(x, padded.unflatten(1, (chunks, self.chunk)))
        columns = window.flatten(-3, -2)[..., -(count + self.chunk) :, :]
        return columns, ring.flatten(1, 2)[:, -count:]

    def initial_state(self, batch: int) -> State:
        depth, hidden = self.q.in_features, self.first.out_features
        zeros = self.q.weight.new_zeros
        return {
            "keys": zeros(batch, self.past, depth),
            "values": zeros(batch, self.past, depth),
            "first": zeros(batch, self.taps - 1, depth),
            "second": zeros(batch, self.taps - 1, hidden),
        }


def fastpitch() -> StreamModel:
    """The small configuration of the catalogue: chunks of 4 columns of 8, a past of 6 columns."""
    return small_stack(lambda _: ChunkBlock(32, chunk=4, heads=2, past=6, hidden=16))
