"""The range that holds everything that was seen."""

from __future__ import annotations

import numpy as np


def min_max(magnitudes: np.ndarray) -> float:
    """The largest of the magnitudes (n,): nothing that was seen saturates."""
    return float(magnitudes.max())
