"""When the elements of a value exist: the time axis, the rate, the offset and the delay.

A *block* is what one step takes: as many frames of the input as make every rate whole. A value with `count`
elements a block has, of a sequence of N blocks, count * N + offset elements. At tick t a step holds the
elements from t * count - delay on, `count` of them: a delay above zero is look-ahead that was waited for, one
below zero is padding on the left that came before the first frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Series:
    """A value with a time axis.

    `fold` is how many streams times rows are merged into the time axis in front of it (1: none, as traced).
    `batch` is the axis of the streams, None where the value has none. `clock` marks a function of the index
    alone, such as a position: in a step it has one row per stream in front of its own axes. `steady` marks
    a constant that is the same at every index.
    """

    axis: int
    count: int
    offset: int
    delay: int
    fold: int = 1
    batch: int | None = None
    clock: bool = False
    steady: bool = False

    def later(self, by: int) -> Series:
        """The same value, `by` elements later."""
        return replace(self, delay=self.delay + by)


@dataclass(frozen=True)
class Summary:
    """A value without a time axis that depends on all frames so far. `batch` as for Series."""

    batch: int | None


@dataclass(frozen=True)
class Constant:
    """A value that depends on no frame and has no time axis."""


@dataclass(frozen=True)
class Table:
    """A constant with two time axes, such as an attention mask."""


@dataclass(frozen=True)
class Unknown:
    """What follows from an operator that was refused; nothing more is said of it."""


Kind = Series | Summary | Constant | Table | Unknown | tuple


def narrow(value: Tensor, series: Series, start: int, length: int) -> Tensor:
    """The elements from `start` on of a whole sequence, merged rows kept merged."""
    if series.fold == 1:
        return value.narrow(series.axis, start, length)
    rows = value.unflatten(series.axis, (series.fold, -1))
    return rows.narrow(series.axis + 1, start, length).flatten(series.axis, series.axis + 1)
