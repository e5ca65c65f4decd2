"""One step while it runs: the values so far, the states, and the clock.

Every helper here works on whole blocks. A state is laid out as its value, with the streams in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from millstream.streamify.timing import Series

TICK, DRAINED = "clock.tick", "clock.drained"


@dataclass
class Tick:
    """The step at one tick.

    `now` counts ticks per stream, (B,) int64; `drained` the ticks after the last frame. Both are read through
    `started` and `ended`, which say what of a value is there. `simulated` marks the ticks before the first
    frame, run once to find the initial states. `read` collects which clocks were needed.
    """

    values: dict[str, Any]
    state: Mapping[str, Tensor]
    now: Tensor
    drained: Tensor
    look_ahead: int
    simulated: bool = False
    after: dict[str, Tensor] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    @property
    def batch(self) -> Any:
        """The number of streams, symbolic while the step is traced."""
        return self.now.shape[0]

    def index(self, series: Series) -> Tensor:
        """The index of each element of the block, (B, count) int64."""
        self.read.add(TICK)
        return self.now[:, None] * series.count - series.delay + torch.arange(series.count)

    def started(self, series: Series) -> Tensor | None:
        """Which elements have an index of 0 or more, (B, count); None when all have."""
        if series.delay <= 0 and not self.simulated:
            return None
        return self.index(series) >= 0

    def ended(self, series: Series) -> Tensor | None:
        """Which elements lie behind the end of the sequence, (B, count); None when none can."""
        places, first = torch.arange(series.count), series.count + series.delay + series.offset
        if self.simulated or series.count - 1 + series.count * self.look_ahead < first:
            return None
        self.read.add(DRAINED)
        return self.drained[:, None] * series.count + places >= first


def spread(mask: Tensor, value: Tensor, series: Series) -> Tensor:
    """A mask (B, count) in the axes of `value`."""
    if series.clock:
        shape = [1] * value.dim()
        shape[0], shape[series.axis + 1] = -1, mask.shape[1]
        return mask.reshape(shape)
    shape = [1] * value.dim()
    shape[series.axis] = mask.shape[1]
    if series.batch is None:
        return mask[0].reshape(shape)
    if series.batch < series.axis:
        shape[series.batch] = -1
        return mask.reshape(shape)
    shape[series.batch] = -1
    return mask.transpose(0, 1).reshape(shape)


def filled(value: Tensor, mask: Tensor | None, series: Series, fill: float) -> Tensor:
    """`fill` where the mask (B, count) is True."""
    if mask is None:
        return value
    return torch.where(spread(mask, value, series), torch.full((), fill, dtype=value.dtype), value)


def window(tick: Tick, name: str, value: Tensor, series: Series, past: int) -> Tensor:
    """`past` elements before the block and the block itself, in the axes of `value`; the ring goes on."""
    if past <= 0:
        return value.narrow(_time(series), -past, value.shape[_time(series)] + past)
    if series.fold != 1:
        return _folded_window(tick, name, value, series, past)
    time = _time(series)
    ring = from_state(tick.state[name], series)
    whole = torch.cat((ring, value), time)
    tick.after[name] = to_state(whole.narrow(time, whole.shape[time] - past, past), series)
    return whole


def _folded_window(tick: Tick, name: str, value: Tensor, series: Series, past: int) -> Tensor:
    """The same where the streams are merged into the time axis."""
    rows = value.unflatten(series.axis, (-1, series.count))
    flat = Series(series.axis + 1, series.count, series.offset, series.delay, batch=series.axis)
    whole = window(tick, name, rows, flat, past)
    return whole.flatten(series.axis, series.axis + 1)


def _time(series: Series) -> int:
    return series.axis + 1 if series.clock else series.axis


def to_state(value: Tensor, series: Series) -> Tensor:
    """A value in the layout of a state: streams in front."""
    if series.clock:
        return value
    return value[None] if series.batch is None else value.movedim(series.batch, 0)


def from_state(state: Tensor, series: Series) -> Tensor:
    """The inverse of `to_state`."""
    if series.clock:
        return state
    return state[0] if series.batch is None else state.movedim(0, series.batch)


def delayed(tick: Tick, name: str, value: Tensor, series: Series, by: int) -> Tensor:
    """The value of `by` elements ago."""
    if by == 0:
        return value
    whole = window(tick, name, value, series, by)
    if series.fold != 1:
        rows = whole.unflatten(series.axis, (-1, series.count + by))
        return rows.narrow(series.axis + 1, 0, series.count).flatten(series.axis, series.axis + 1)
    return whole.narrow(_time(series), 0, series.count)
