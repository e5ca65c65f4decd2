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

    Infinite where the exact value is 0 throughout and the other is not, and where only one of them is NaN or
    infinite.
    """
    gap = Gap()
    pairs = zip(stream(exact, calibration, ticks), stream(quantized, calibration, ticks), strict=True)
    for want, got in pairs:
        for name in names:
            gap.add(name, got[name], want[name])
    return gap.relative()


class Gap:
    """The differences of tensors, by name, gathered tick by tick."""

    def __init__(self) -> None:
        self._gaps: dict[str, float] = {}
        self._sizes: dict[str, float] = {}

    def add(self, name: str, got: np.ndarray, want: np.ndarray) -> None:
        """What one tick gave, and what it should have given."""
        wide = want.astype(np.float64)
        # What is infinite or NaN in both is no difference.
        differs = ~((got == wide) | (np.isnan(got) & np.isnan(wide)))
        gap = np.subtract(got, wide, out=np.zeros_like(wide), where=differs)
        squares = np.square(wide, out=np.zeros_like(wide), where=np.isfinite(wide))
        self._gaps[name] = self._gaps.get(name, 0.0) + float(np.square(gap).sum())
        self._sizes[name] = self._sizes.get(name, 0.0) + float(squares.sum())

    def relative(self) -> dict[str, float]:
        """As `relative_errors` says."""
        return {name: _ratio(gap, self._sizes[name]) for name, gap in self._gaps.items()}


def _ratio(gap: float, size: float) -> float:
    if math.isnan(gap):
        return math.inf
    if size:
        return math.sqrt(gap / size)
    return math.inf if gap else 0.0
