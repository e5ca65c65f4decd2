"""The range with the least squared error: what saturates weighed against the width of the steps."""

from __future__ import annotations

import numpy as np

from millstream.quantize.ranges.histogram import histogram
from millstream.quantize.rounding import LARGEST

#: Parts of the largest magnitude that are tried.
_PARTS = np.geomspace(0.02, 1.0, 96)


def squared_error(magnitudes: np.ndarray) -> float:
    """The range of int8 whose rounding of the magnitudes (n,) has the least mean square."""
    counts, centres = histogram(magnitudes)
    ranges = _PARTS * magnitudes.max()
    steps = ranges / LARGEST
    whole = np.minimum(np.rint(centres[None] / steps[:, None]), LARGEST)
    errors = (counts * np.square(centres - whole * steps[:, None])).sum(1)
    return float(ranges[errors.argmin()])
