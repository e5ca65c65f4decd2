"""How often a magnitude occurs."""

from __future__ import annotations

import numpy as np

BINS = 2048


def histogram(magnitudes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts (bins,) of the magnitudes (n,) from 0 to the largest, and the middle of each bin."""
    counts, edges = np.histogram(magnitudes, BINS, (0.0, float(magnitudes.max()) or 1.0))
    return counts, (edges[:-1] + edges[1:]) / 2
