"""Cumulative operators, and means and maxima over all frames so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from millstream.streamify.operators.local import local
from millstream.streamify.operators.windows import own_axis
from millstream.streamify.planner import Call, Planner, Withheld, shapes, summary_of
from millstream.streamify.refusal import Stuck, operator
from millstream.streamify.tick import Tick, filled, from_state, to_state
from millstream.streamify.timing import Kind, Series


@dataclass(frozen=True)
class _Scan:
    """What a cumulative operator starts from, and how two parts are put together."""

    start: float
    over: Callable[[Tensor, int], Tensor]
    join: Callable[[Tensor, Tensor], Tensor]


_SCANS = {
    "cumsum": _Scan(0.0, torch.cumsum, torch.add),
    "cumprod": _Scan(1.0, torch.cumprod, torch.mul),
    "cummax": _Scan(-math.inf, lambda x, axis: torch.cummax(x, axis).values, torch.maximum),
    "cummin": _Scan(math.inf, lambda x, axis: torch.cummin(x, axis).values, torch.minimum),
}
_PLACES = Withheld("the place of a maximum grows with the sequence", "use the values alone")


def cumulative(planner: Planner, call: Call) -> Any:
    """cumsum, cumprod, cummax, cummin over time: one carried value."""
    source = call["self"].name
    kind, scan = planner.kinds[source], _SCANS[operator(call.node)]
    if isinstance(kind, Series) and (kind.clock or kind.steady):
        return _of_positions(planner, call, kind)
    if not isinstance(kind, Series) or call["dim"] % planner.results[source].dim() != kind.axis:
        return local(planner, call)
    own_axis(kind)
    pair = operator(call.node) in ("cummax", "cummin")
    carry = _carry(planner, call, source, kind, scan.start)
    axis = kind.axis

    def run(tick: Tick) -> Any:
        x = tick.values[source]
        started = tick.started(kind)
        x = filled(x, None if started is None else ~started, kind, scan.start)
        # torch sums integers and booleans in int64.
        x = x.to(tick.state[carry].dtype)
        y = scan.join(scan.over(x, axis), from_state(tick.state[carry], kind))
        tick.after[carry] = to_state(y.narrow(axis, kind.count - 1, 1), kind)
        return (y, None) if pair else y

    planner.emit(call.name, run)
    out = replace(kind, steady=False)
    return (out, _PLACES) if pair else out


def _of_positions(planner: Planner, call: Call, kind: Series) -> Kind:
    """The cumulative sum of ones is the position; of anything else it is refused."""
    value = planner.results[call["self"].name]
    if operator(call.node) != "cumsum" or not kind.steady or call["dim"] % value.dim() != kind.axis:
        raise Stuck("a cumulative operator on positions", "compute it from torch.arange")
    found = planner.series(shapes(call.twins))
    step = value.narrow(kind.axis, 0, 1)
    rows = [slice(0, 1) if i == found.batch else slice(None) for i in range(value.dim())]
    first = step[tuple(rows)].clone()
    kept = f"{call.name}.each"
    planner.constants[kept] = first
    dtype = planner.results[call.name].dtype

    def run(tick: Tick) -> Tensor:
        index = tick.index(found) + 1
        shape = [1] * value.dim()
        shape[found.axis] = found.count
        return index.reshape(-1, *shape).to(dtype) * tick.values[kept]

    planner.emit(call.name, run)
    return replace(found, clock=True)


def _carry(planner: Planner, call: Call, source: str, kind: Series, start: float) -> str:
    """A state for one element of the result, holding `start`."""
    name = planner.ring(f"{call.name}.carry", source, kind, 1)
    dtype = shapes_dtype(planner, call)
    value = planner.registers[name].value
    planner.remember(name, torch.full(value.shape, start).to(dtype))
    return name


def shapes_dtype(planner: Planner, call: Call) -> torch.dtype:
    """The dtype of the (first) result."""
    result = planner.results[call.name]
    return (result[0] if isinstance(result, (tuple, list)) else result).dtype


_JOINS: dict[str, tuple[float, Callable[[Tensor, Tensor], Tensor]]] = {
    "sum": (0.0, torch.add),
    "mean": (0.0, torch.add),
    "amax": (-math.inf, torch.maximum),
    "amin": (math.inf, torch.minimum),
}


def reduction(planner: Planner, call: Call) -> Any:
    """sum, mean, amax, amin over time: in a stream, over all frames so far."""
    source, name = call["self"].name, operator(call.node)
    kind, value = planner.kinds[source], planner.results[call["self"].name]
    given = call.named.get("dim")
    axes = [a % value.dim() for a in (given if given else range(value.dim()))]
    if not isinstance(kind, Series) or kind.clock or kind.steady or kind.axis not in axes:
        return local(planner, call)
    own_axis(kind)
    if kind.batch in axes:
        raise Stuck("it takes all streams of the batch together", "reduce over time and features alone")
    if kind.delay != -kind.offset:
        return Withheld("the end waits for frames that a stream has not seen", "pad on the left alone")
    keep = bool(call.named.get("keepdim"))
    result, start, join = planner.results[call.name], *_JOINS[name]
    summary = summary_of(shapes(call.twins))
    layout = Series(0, 1, 0, 0, batch=summary.batch)
    sizes = [s for i, s in enumerate(result.shape) if i != summary.batch]
    state = planner.remember(f"{call.name}.carry", torch.full([1, *sizes], start).to(result.dtype))
    others = 1
    for axis in axes:
        others *= 1 if axis == kind.axis else value.shape[axis]

    def run(tick: Tick) -> Tensor:
        x, started = tick.values[source], tick.started(kind)
        x = filled(x, None if started is None else ~started, kind, start)
        part = _part(name, x, axes, keep).to(result.dtype)
        total = join(part, from_state(tick.state[state], layout))
        tick.after[state] = to_state(total, layout)
        if name != "mean":
            return total
        seen = (tick.index(kind)[:, -1] + 1).to(total.dtype) * others
        shape = [1] * total.dim()
        if summary.batch is None:
            return total / seen[0]
        shape[summary.batch] = -1
        return total / seen.reshape(shape)

    planner.emit(call.name, run)
    return summary


def _part(name: str, x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if name in ("sum", "mean"):
        return x.sum(axes, keepdim=keep)
    return getattr(torch, name)(x, axes, keepdim=keep)
