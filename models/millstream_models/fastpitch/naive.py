"""A chunk block over all columns with the mask of its chunks: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.naive import linear, rms_norm, softmax
from millstream_models.fastpitch.model import ChunkBlock


def naive(block: ChunkBlock, x: Tensor) -> Tensor:
    """(T, chunk * depth) -> the same: the whole signal column by column."""
    columns = list(x.reshape(len(x) * block.chunk, -1))
    keys, values = ([linear(f, column) for column in columns] for f in (block.k, block.v))
    attended = []
    for place, column in enumerate(columns):
        start = place // block.chunk * block.chunk
        seen = range(start - block.past, start + block.chunk)
        query, read = linear(block.q, column), []
        for head in range(block.heads):
            q = query.chunk(block.heads)[head]
            rows = [_part(block, keys, j, head) for j in seen]
            weights = softmax(torch.stack([q @ row for row in rows]) / len(q) ** 0.5)
            read.append(sum(w * _part(block, values, j, head) for w, j in zip(weights, seen, strict=True)))
        attended.append(rms_norm(block.norms[0], column + linear(block.out, torch.cat(read))))
    hidden = [torch.clamp(y, min=0) for y in _convolved(block.first, attended, block.taps)]
    pairs = zip(attended, _convolved(block.second, hidden, block.taps), strict=True)
    return torch.stack([rms_norm(block.norms[1], a + b) for a, b in pairs]).reshape(x.shape)


def _part(block: ChunkBlock, columns: list[Tensor], place: int, head: int) -> Tensor:
    column = columns[place] if place >= 0 else torch.zeros_like(columns[0])
    return column.chunk(block.heads)[head]


def _convolved(layer: nn.Linear, columns: list[Tensor], taps: int) -> list[Tensor]:
    silence = torch.zeros_like(columns[0])
    padded = [silence] * (taps - 1) + columns
    return [linear(layer, torch.cat(padded[i : i + taps])) for i in range(len(columns))]
