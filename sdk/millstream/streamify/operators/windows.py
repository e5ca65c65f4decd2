"""Operators that look at a window of frames: how long the window waits, and how much of it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from millstream.streamify.planner import Call, Planner, shapes
from millstream.streamify.refusal import Stuck, Uneven
from millstream.streamify.tick import Tick, filled, window
from millstream.streamify.timing import Series


@dataclass(frozen=True)
class Window:
    """Element j of the result looks at j * stride .. j * stride + span of a padded value."""

    span: int
    stride: int = 1
    left: int = 0
    right: int = 0
    fill: float = 0.0


def windowed(
    planner: Planner,
    call: Call,
    source: tuple[str, Series],
    reach: Window,
    compute: Callable[[Tick, Tensor], Tensor],
) -> Series:
    """Plan `compute` over the frames that a block of results needs, (count + span - stride + 1 of them).

    With n elements a block that come d late, results are ready ceil((d + 1 + span - stride) / stride) late.
    Raises Uneven when the traced lengths do not fit.
    """
    name, series = source
    count, rest = divmod(series.count, reach.stride)
    if rest:
        raise Uneven
    padded = replace(series, delay=series.delay - reach.left, offset=series.offset + reach.left + reach.right)
    delay = -(-(padded.delay + 1 + reach.span - reach.stride) // reach.stride)
    past = delay * reach.stride - padded.delay
    length = series.count + reach.span - reach.stride + 1
    state = planner.ring(f"{call.name}.past", name, series, past)
    time = series.axis

    def run(tick: Tick) -> Tensor:
        value = pad(tick, tick.values[name], series, reach)
        return compute(tick, window(tick, state, value, series, past).narrow(time, 0, length))

    planner.emit(call.name, run)
    found = planner.series(shapes(call.twins), series.fold)
    expected = (padded.offset - reach.span - 1) // reach.stride + 1
    if (found.count, found.offset) != (count, expected):
        raise Uneven
    return replace(found, delay=delay)


def pad(tick: Tick, value: Tensor, series: Series, reach: Window) -> Tensor:
    """What lies before the first and behind the last element, replaced by the padding."""
    if reach.left:
        started = tick.started(series)
        value = filled(value, None if started is None else ~started, series, reach.fill)
    if reach.right:
        value = filled(value, tick.ended(series), series, reach.fill)
    return value


def own_axis(series: Series) -> Series:
    """The series itself, when time is an axis of its own. Raises Stuck."""
    if series.fold != 1:
        raise Stuck(
            "streams or features are merged into the time axis", "keep time an axis of its own until here"
        )
    return series
