"""Operators that look at one index of time: tried, not listed.

An operator is local when on a piece of the sequence it gives that piece of the whole. This is tried on real
frames before it is believed, so an operator that nobody thought of is served, and one that looks further is
refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from millstream.streamify import arguments
from millstream.streamify.advice import advice
from millstream.streamify.planner import Call, Planner, Shapes, shapes_of, summary_of, tensors
from millstream.streamify.refusal import Stuck, operator
from millstream.streamify.tick import Tick
from millstream.streamify.timing import Constant, Kind, Series, Summary, Table, narrow
from millstream.streamify.whole import own_function

#: Operators that only give the elements another shape: rows in front of time may be merged into it.
_RESHAPING = {"view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "clone"}
#: Operators that read a table at places given by an operand.
_LOOKING_UP = {"embedding", "index", "index_select", "gather"}
#: Kernels that see other lengths sum in another order.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5


def local(planner: Planner, call: Call) -> Kind:
    """The rule of every operator that has none of its own. Raises Stuck, Uneven."""
    kinds = {node.name: planner.kinds[node.name] for node in arguments.leaves(call.node)}
    flat = [k for kind in kinds.values() for k in (kind if isinstance(kind, tuple) else (kind,))]
    series = [k for k in flat if isinstance(k, Series)]
    if any(isinstance(k, Summary) for k in flat):
        if any(not each.steady for each in series):
            raise Stuck(
                "every frame would need what is only known at the end of the sequence",
                "use what is known so far: cumsum, a running mean, or the last state of a recurrence",
            )
        return _summary(planner, call)
    if any(isinstance(k, Table) for k in flat) and any(not (k.clock or k.steady) for k in series):
        raise Stuck(*advice("attention"))
    if all(k.clock or k.steady for k in series):
        return without_frames(planner, call, series)
    return _of_frames(planner, call, kinds, series)


def _summary(planner: Planner, call: Call) -> Kind:
    args, kwargs = planner.arguments(call, {})
    run = _runner(call, args, kwargs)
    planner.emit(call.name, run)
    return _each(call, lambda values: summary_of(shapes_of(values)))


def _of_frames(planner: Planner, call: Call, kinds: Mapping[str, Any], series: list[Series]) -> Kind:
    """An operator on frames: aligned, placed, and tried on a piece."""
    names, aligned = align(planner, kinds, call)
    lead = next(s for s in aligned.values() if not (s.clock or s.steady))
    outs = _results(planner, call, lead)
    ratio = Fraction(_first(outs).count, lead.count)
    delay = lead.delay
    if (delay * ratio).denominator != 1:
        # Elements are gathered into groups: the delay must be a whole number of groups.
        step = (1 / ratio).numerator
        delay = -(-delay // step) * step
        names, aligned = align(planner, kinds, call, delay)
    outs = _map(outs, lambda each: replace(each, delay=int(delay * Fraction(each.count, lead.count))))
    args, kwargs = planner.arguments(call, names)
    first = _first(outs)
    rank = max(value.dim() for value in _tensors(planner.results[call.name]))
    clocks = {names[n]: s for n, s in aligned.items() if s.clock}
    run = _runner(call, args, kwargs, clocks, rank, first.batch)
    _try(planner, call, names, aligned, run, outs)
    planner.emit(call.name, run)
    return outs


def align(
    planner: Planner, kinds: Mapping[str, Any], call: Call, delay: int | None = None
) -> tuple[dict[str, str], dict[str, Series]]:
    """Hold all series back to the latest of them, or to `delay`; their names in the step and timings."""
    moving = {n: k for n, k in kinds.items() if isinstance(k, Series) and not k.steady}
    if not moving:
        raise Stuck(*advice(operator(call.node)))
    counts = {(k.count, k.offset) for n, k in moving.items() if not _broadcast(planner, n, k)}
    if len(counts) > 1:
        raise Stuck(
            "values of different rates or lengths meet", "bring branches to one rate before they meet"
        )
    latest = max(k.delay for k in moving.values()) if delay is None else delay
    names = {n: planner.at(n, k, latest) for n, k in moving.items()}
    found = {n: replace(k, delay=latest) for n, k in moving.items()}
    steady = {n: k for n, k in kinds.items() if isinstance(k, Series) and k.steady}
    return {**{n: n for n in steady}, **names}, {**found, **steady}


def _broadcast(planner: Planner, name: str, kind: Series) -> bool:
    return planner.results[name].shape[kind.axis] == 1


def _results(planner: Planner, call: Call, lead: Series) -> Any:
    """The timing of each result, as if nothing were delayed. Raises Stuck, Uneven."""

    def timing(values: list[Any]) -> Any:
        found = shapes_of(values)
        if 0 in found.short:
            return Constant()  # what an operator leaves empty outside training
        if len(found.time_axes) != 1:
            raise Stuck(*advice(operator(call.node)))
        fold = _fold(planner, call, lead, found)
        return planner.series(found, fold)

    return _each(call, timing)


def _fold(planner: Planner, call: Call, lead: Series, found: Shapes) -> int:
    """How many rows stand merged in front of time in the result's axis."""
    if operator(call.node) not in _RESHAPING:
        return lead.fold
    source = next(n for n in arguments.leaves(call.node) if isinstance(planner.kinds[n.name], Series))
    before = prod(planner.results[source.name].shape[: lead.axis]) * lead.fold
    fold, rest = divmod(before, prod(found.short[: found.time_axes[0]]))
    if rest or not fold:
        raise Stuck("frames and features are mixed into another order", "reshape features and time apart")
    return fold


def without_frames(planner: Planner, call: Call, series: list[Series]) -> Kind:
    """An operator on constants and positions alone."""
    node, result = call.node, planner.results[call.name]
    if not isinstance(result, Tensor):
        if any(s.clock for s in series) or shapes_of(_values(call)[0]).time_axes:
            raise Stuck("several results that depend on positions", "compute them one by one")
        return _constants(planner, call)
    found = shapes_of([each.meta["val"] for each in call.twins])
    if len(found.time_axes) > 1:
        return Table()
    if not found.time_axes:
        if not torch.equal(result, planner.longer[call.name]):
            raise Stuck("a number that depends on the length of the sequence", "a stream has no end")
        return _constants(planner, call)
    timing = planner.series(found)
    if any(s.clock for s in series):
        return _clock(planner, call, timing)
    if not _is_steady(result, planner.longer[call.name], timing):
        raise Stuck(
            "a table with one row per position, which ends",
            "a stream has no end: use positions that are computed (rotary, sinusoidal) or relative",
        )
    args, kwargs = planner.arguments(call, {})
    planner.emit(node.name, _runner(call, args, kwargs))
    return replace(timing, steady=True)


def _clock(planner: Planner, call: Call, timing: Series) -> Kind:
    """A function of positions: one row per stream, computed with the stream's own count."""
    indices = call.named.get("indices", call.named.get("index"))
    places = indices if isinstance(indices, (list, tuple)) else [indices]
    looked_up = [p for p in places if isinstance(p, fx.Node) and isinstance(planner.kinds[p.name], Series)]
    if operator(call.node) in _LOOKING_UP and looked_up:
        raise Stuck(
            "positions are looked up in a table, which ends",
            "a stream has no end: use positions that are computed (rotary, sinusoidal) or relative",
        )
    kinds = {node.name: planner.kinds[node.name] for node in arguments.leaves(call.node)}
    names, aligned = align(planner, kinds, call)
    clocks = [names[n] for n, s in aligned.items() if s.clock]
    args, kwargs = planner.arguments(call, names)

    def run(tick: Tick) -> Tensor:
        def one(*rows: Tensor) -> Tensor:
            values = {**tick.values, **dict(zip(clocks, rows, strict=True))}
            return call.node.target(  # type: ignore[operator]
                *arguments.bind(args, tick, values, 1), **arguments.bind(kwargs, tick, values, 1)
            )

        return torch.vmap(one)(*(tick.values[name] for name in clocks))

    planner.emit(call.name, run)
    delay = next(s.delay for s in aligned.values() if s.clock)
    return replace(timing, clock=True, delay=delay)


def _constants(planner: Planner, call: Call) -> Kind:
    """A constant: folded, or computed in the step when its size depends on the number of streams."""
    if any(shapes_of(values).batch_axes for values in _values(call)):
        args, kwargs = planner.arguments(call, {})
        planner.batched.add(call.name)
        planner.emit(call.name, _runner(call, args, kwargs))
    return _each(call, lambda values: Constant())


def _is_steady(short: Tensor, long: Tensor, timing: Series) -> bool:
    first = narrow(long, timing, 0, 1)
    return bool((long == first).all()) and bool((short == narrow(short, timing, 0, 1)).all())


def _runner(
    call: Call,
    args: Any,
    kwargs: Any,
    clocks: Mapping[str, Series] | None = None,
    rank: int = 0,
    batch: int | None = None,
) -> Any:
    """The operator on a block; positions get their streams where the operator has its batch."""
    function = own_function(call.node.target)

    def run(tick: Tick) -> Any:
        values = tick.values
        if clocks:
            values = {**values, **{n: placed(values[n], rank, batch) for n in clocks}}
        return function(
            *arguments.bind(args, tick, values, tick.batch),
            **arguments.bind(kwargs, tick, values, tick.batch),
        )

    return run


def placed(value: Tensor, rank: int, batch: int | None) -> Tensor:
    """A function of positions (streams, ...) with its streams on the batch axis of a value of that rank."""
    if batch is None:
        return value[0]
    wide = value.reshape(value.shape[0], *([1] * (rank + 1 - value.dim())), *value.shape[1:])
    return wide.squeeze(batch + 1).movedim(0, batch)


def _try(
    planner: Planner,
    call: Call,
    names: Mapping[str, str],
    timings: Mapping[str, Series],
    run: Any,
    outs: Any,
) -> None:
    """On pieces of the sequence the operator must give the pieces of the whole. Raises Stuck."""
    whole = planner.results[call.name]
    moving = [s for s in timings.values() if not s.steady]
    lengths = [_length(planner.results[n], s) // s.count for n, s in timings.items() if s in moving]
    for block in sorted({0, 1, min(lengths) - 1}):
        try:
            piece = run(_piece(planner, call, names, timings, block))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise _not_local(call) from error
        for part, full, series in zip(_tensors(piece), _tensors(whole), _listed(outs), strict=True):
            if isinstance(series, Constant) or _length(full, series) < (block + 1) * series.count:
                continue
            want = narrow(full, series, block * series.count, series.count)
            if part.shape != want.shape or not _close(part, want):
                raise _not_local(call)


def _not_local(call: Call) -> Stuck:
    """Why the operator is not local: it computes with the length, or it looks at other frames."""
    numbers = zip(call.twins[0].args, call.twins[1].args, strict=True)
    if any(isinstance(a, int) and a != b for a, b in numbers):
        return Stuck(
            "a number that depends on the length of the sequence", "a stream has no end: count frames"
        )
    return Stuck(*advice(operator(call.node)))


def _piece(
    planner: Planner, call: Call, names: Mapping[str, str], timings: Mapping[str, Series], block: int
) -> Tick:
    """The operands of one block, as a step would have them."""
    values: dict[str, Any] = {}
    for node in arguments.leaves(call.node):
        value, series = planner.results[node.name], timings.get(node.name)
        if series is None:
            values[node.name] = value
        elif series.steady or value.shape[series.axis] == 1:
            values[names[node.name]] = narrow(value, series, 0, min(series.count, value.shape[series.axis]))
        else:
            piece = narrow(value, series, block * series.count, series.count)
            values[names[node.name]] = piece[None] if series.clock else piece
    clock = torch.zeros(planner.traces.batches[0], dtype=torch.int64)
    return Tick(values, {}, clock, clock, 0)


def _close(part: Tensor, want: Tensor) -> bool:
    if not part.is_floating_point():
        return bool(torch.equal(part, want))
    scale = float(want.nan_to_num(0, 0, 0).abs().max()) if want.numel() else 0.0
    return torch.allclose(part, want, _RELATIVE, _ABSOLUTE * max(scale, 1e-3), equal_nan=True)


def _length(value: Tensor, series: Series) -> int:
    return value.shape[series.axis] // series.fold


def _values(call: Call) -> list[list[Any]]:
    """The values of each result in the three traces."""
    return [list(values) for values in zip(*(tensors(node) for node in call.twins), strict=True)]


def _each(call: Call, make: Any) -> Any:
    """`make` of each result; a tuple where the operator gives one."""
    made = tuple(make(values) for values in _values(call))
    return made if isinstance(call.node.meta["val"], (tuple, list)) else made[0]


def _map(kinds: Any, change: Any) -> Any:
    if isinstance(kinds, tuple):
        return tuple(change(k) if isinstance(k, Series) else k for k in kinds)
    return change(kinds)


def _listed(kinds: Any) -> list[Any]:
    return list(kinds) if isinstance(kinds, tuple) else [kinds]


def _first(kinds: Any) -> Series:
    return next(kind for kind in _listed(kinds) if isinstance(kind, Series))


def _tensors(value: Any) -> list[Tensor]:
    return [v for v in (value if isinstance(value, (tuple, list)) else (value,)) if isinstance(v, Tensor)]
