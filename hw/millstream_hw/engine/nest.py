"""Address patterns as loop nests: base + i * stride + j * stride, for several patterns at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Nest:
    """Two loops that walk every pattern in order: (base, stride of i, stride of j) for each."""

    n_i: int
    n_j: int
    walks: tuple[tuple[int, int, int], ...]


def nest(patterns: Sequence[np.ndarray]) -> Nest | None:
    """The loops that walk all patterns (N,) together, or None when no two loops do."""
    size = len(patterns[0])
    for n_j in sorted((n for n in range(1, size + 1) if size % n == 0), reverse=True):
        walks = [_walk(pattern.reshape(-1, n_j)) for pattern in patterns]
        found = tuple(walk for walk in walks if walk is not None)
        if len(found) == len(walks):
            return Nest(size // n_j, n_j, found)
    return None


def runs(pattern: np.ndarray) -> Iterator[slice]:
    """The pattern cut into stretches of one stride, greedily."""
    start = 0
    while start < len(pattern):
        end = min(start + 2, len(pattern))
        while end < len(pattern) and pattern[end] - pattern[end - 1] == pattern[start + 1] - pattern[start]:
            end += 1
        yield slice(start, end)
        start = end


def _walk(grid: np.ndarray) -> tuple[int, int, int] | None:
    base = int(grid[0, 0])
    by_i = int(grid[1, 0]) - base if grid.shape[0] > 1 else 0
    by_j = int(grid[0, 1]) - base if grid.shape[1] > 1 else 0
    i, j = np.indices(grid.shape)
    return (base, by_i, by_j) if np.array_equal(grid, base + i * by_i + j * by_j) else None
