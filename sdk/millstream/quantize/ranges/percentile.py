"""The range that holds almost everything: a few far values do not widen the steps of all others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def percentile(percent: float) -> Callable[[np.ndarray], float]:
    """The magnitude that so many percent of the magnitudes (n,) do not pass."""

    def largest(magnitudes: np.ndarray) -> float:
        return float(np.percentile(magnitudes, percent))

    return largest
