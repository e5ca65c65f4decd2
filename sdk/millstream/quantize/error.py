"""How far a quantized graph lies from the float graph that it was made from, each carrying its own state."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from millstream.graph import StepGraph
from millstream.quantize.calibration import MOST_TICKS, Calibration, stream


def relative_errors(
    exact: StepGraph,
    quantized: StepGraph,
    names: Sequence[str],
    calibration: Calibration,
    ticks: int = MOST_TICKS,
) -> dict[str, float]:
    """The RMS of the difference over the RMS of the value, over all ticks, for each named graph output.

    Infinite where the exact value is 0 throughout and the other is not.
    """
    gaps, sizes = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    pairs = zip(stream(exact, calibration, ticks), stream(quantized, calibration, ticks), strict=True)
    for want, got in pairs:
        for name in names:
            wide = want[name].astype(np.float64)
            gaps[name] += float(np.square(got[name] - wide).sum())
            sizes[name] += float(np.square(wide).sum())
    return {name: _ratio(gaps[name], sizes[name]) for name in names}


def _ratio(gap: float, size: float) -> float:
    if size:
        return math.sqrt(gap / size)
    return math.inf if gap else 0.0
