"""The range whose integers say most of the distribution: the least relative entropy to it.

S. Migacz, 8-bit inference with TensorRT (2017). For each range that is tried, p is the histogram within it,
what saturates counted in its last bin, and q is p without that, spread evenly over the bins of each integer.
"""

from __future__ import annotations

import numpy as np

from millstream.quantize.ranges.histogram import BINS, histogram
from millstream.quantize.rounding import LARGEST

#: Integers of one sign, 0 among them: as many bins are the smallest range.
_LEVELS = LARGEST + 1
_STRIDE = 16


def entropy(magnitudes: np.ndarray) -> float:
    """The range of int8 with the least relative entropy to the distribution of the magnitudes (n,)."""
    counts, _ = histogram(magnitudes)
    ends = range(_LEVELS, BINS + 1, _STRIDE)
    best = min(ends, key=lambda end: _relative_entropy(counts, end))
    return best / BINS * float(magnitudes.max())


def _relative_entropy(counts: np.ndarray, end: int) -> float:
    """Of the histogram to what integers that cover its first `end` bins make of it, in nats."""
    inside = counts[:end].astype(np.float64)
    wanted = inside.copy()
    wanted[-1] += counts[end:].sum()
    level = np.arange(end) * _LEVELS // end
    seen = inside > 0
    totals = np.bincount(level, inside, _LEVELS)
    bins = np.maximum(np.bincount(level, seen, _LEVELS), 1)
    made = np.where(seen, (totals / bins)[level], 0.0)
    # Where the integers say nothing of what is there, they are given the least that counts as something.
    made = np.where((made == 0) & (wanted > 0), 1e-3, made)
    p, q = wanted / wanted.sum(), made / made.sum()
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())
