"""Padding, cutting and joining along time: mostly arithmetic on delays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from millstream.streamify.operators.local import local
from millstream.streamify.operators.windows import Window, own_axis, pad, windowed
from millstream.streamify.planner import Call, Planner, Withheld, shapes, summary_of
from millstream.streamify.refusal import Stuck
from millstream.streamify.tick import Tick, spread
from millstream.streamify.timing import Constant, Kind, Series

_END = 1 << 62


def padding(planner: Planner, call: Call) -> Kind:
    """pad: a constant before the first frame is where a state begins; one behind the last is waited for."""
    kind, value = _series(planner, call)
    sizes = list(call["pad"])
    if kind is None or len(sizes) // 2 <= value.dim() - 1 - kind.axis:
        return local(planner, call)
    place = 2 * (value.dim() - 1 - kind.axis)
    left, right = sizes[place : place + 2]
    if not left and not right:
        return local(planner, call)
    own_axis(kind)
    mode = call.named.get("mode", "constant")
    if mode != "constant":
        raise Stuck(f"{mode} padding over time copies frames that are not there yet", "pad with zeros")
    fill = call["value"] or 0.0
    others = [0 if i in (place, place + 1) else size for i, size in enumerate(sizes)]
    source, reach = call["self"].name, Window(0, left=max(left, 0), right=max(right, 0), fill=fill)

    def run(tick: Tick) -> Tensor:
        x = pad(tick, tick.values[source], kind, reach)
        return functional.pad(x, others, value=fill) if any(others) else x

    planner.emit(call.name, run)
    return replace(planner.series(shapes(call.twins)), delay=kind.delay - left)


def cat(planner: Planner, call: Call) -> Kind:
    """cat: along time a constant in front of or behind the frames is padding; along others it is local."""
    parts = call["tensors"]
    axis = call["dim"] % planner.results[call.name].dim()
    found = shapes(call.twins)
    if found.time_axes != [axis]:
        return local(planner, call)
    kinds = [planner.kinds[part.name] for part in parts]
    moving = [i for i, k in enumerate(kinds) if isinstance(k, Series) and not k.steady]
    if len(moving) != 1 or any(isinstance(k, Series) for i, k in enumerate(kinds) if i != moving[0]):
        raise Stuck("sequences are joined end to end", "join them along the features")
    own = moving[0]
    kind: Series = own_axis(kinds[own])
    if kind.clock or not all(isinstance(k, Constant) for i, k in enumerate(kinds) if i != own):
        raise Stuck("what is joined on is known only at the end", "join constants on, such as zeros")
    values = [planner.results[part.name] for part in parts]
    fills = {float(v.flatten()[0]) for i, v in enumerate(values) if i != own and v.numel()}
    if len(fills) > 1 or any(
        v.numel() and bool((v != v.flatten()[0]).any()) for i, v in enumerate(values) if i != own
    ):
        raise Stuck("what is joined on is not one value throughout", "join zeros on")
    left = sum(v.shape[axis] for v in values[:own])
    right = sum(v.shape[axis] for v in values[own + 1 :])
    source, reach = parts[own].name, Window(0, left=left, right=right, fill=fills.pop() if fills else 0.0)
    planner.emit(call.name, lambda tick: pad(tick, tick.values[source], kind, reach))
    return replace(planner.series(found), delay=kind.delay - left)


def cut(planner: Planner, call: Call) -> Kind:
    """slice: frames dropped at the front make the rest earlier, those at the end are not missed."""
    kind, value = _series(planner, call)
    if kind is None or call["dim"] % value.dim() != kind.axis:
        return local(planner, call)
    own_axis(kind)
    lengths = [twin.args[0].meta["val"].shape[kind.axis] for twin in call.twins]  # type: ignore[union-attr]
    start, step = call["start"] or 0, call["step"] or 1
    starts = [_argument(twin, 2) for twin in call.twins[:2]]
    if start < 0 or starts[0] != starts[1]:
        raise Stuck("it keeps the last frames of the sequence", "keep a window of frames: unfold, or a state")
    ends = [_end(twin, length) for twin, length in zip(call.twins[:2], lengths, strict=False)]
    if ends[0] == ends[1]:
        raise Stuck("it keeps the first frames of the sequence alone", "cut before streaming, not in forward")
    source = call["self"].name
    if step > 1:
        shifted = replace(kind, delay=kind.delay + start, offset=kind.offset - start + (ends[0] - lengths[0]))
        name = f"{call.name}.from"
        planner.emit(name, lambda tick: tick.values[source])
        return _strided(planner, call, name, shifted, step)
    planner.emit(call.name, lambda tick: tick.values[source])
    return replace(planner.series(shapes(call.twins)), delay=kind.delay + start)


def _strided(planner: Planner, call: Call, name: str, kind: Series, step: int) -> Kind:
    """Every `step`-th frame."""
    axis = kind.axis

    def compute(tick: Tick, x: Tensor) -> Tensor:
        index = [slice(None)] * x.dim()
        index[axis] = slice(0, None, step)
        return x[tuple(index)]

    planner.results = {**planner.results, name: planner.results[call["self"].name]}
    return windowed(planner, call, (name, kind), Window(0, step), compute)


def written(planner: Planner, call: Call) -> Kind:
    """slice_scatter: what an assignment to the frames from `start` on leaves; the frames before stay."""
    base, source = call["self"], call["src"]
    axis = call["dim"] % planner.results[call.name].dim()
    if shapes(call.twins).time_axes != [axis]:
        return local(planner, call)
    start, size = call["start"] or 0, planner.results[call.name].shape[axis]
    kinds = planner.kinds[base.name], planner.kinds[source.name]
    if not all(isinstance(kind, Series) and not kind.clock for kind in kinds):
        raise Stuck("frames are overwritten by something that is no sequence", "use torch.where on positions")
    if start < 0 or call["step"] != 1 or size - planner.results[source.name].shape[axis] != start:
        raise Stuck(
            "only some frames are overwritten", "overwrite all frames from one on, or use torch.where"
        )
    old, new = own_axis(kinds[0]), own_axis(kinds[1])
    moved = replace(new, delay=new.delay - start)
    delay = max([k.delay for k in (old, moved) if not k.steady] or [0])
    before = planner.at(base.name, old, delay)
    after = planner.at(source.name, moved, delay)
    found = replace(planner.series(shapes(call.twins)), delay=delay)

    def run(tick: Tick) -> Tensor:
        if found.delay <= -start and not tick.simulated:
            return tick.values[after]
        early = spread(tick.index(found) < start, tick.values[after], found)
        return torch.where(early, tick.values[before], tick.values[after])

    planner.emit(call.name, run)
    return found


def select(planner: Planner, call: Call) -> Any:
    """select: the last frame of the sequence is, in a stream, the newest."""
    kind, value = _series(planner, call)
    if kind is None or call["dim"] % value.dim() != kind.axis:
        return local(planner, call)
    own_axis(kind)
    lengths = [twin.args[0].meta["val"].shape[kind.axis] for twin in call.twins[:2]]  # type: ignore[union-attr]
    places = [_argument(twin, 2) % length for twin, length in zip(call.twins[:2], lengths, strict=True)]
    if places[1] - places[0] != lengths[1] - lengths[0]:
        raise Stuck("it keeps one frame at a fixed place", "keep every frame, or the last one")
    if places[0] != lengths[0] - 1 or kind.delay != -kind.offset:
        return Withheld("the last frame waits for frames that a stream has not seen", "pad on the left alone")
    source = call["self"].name
    planner.emit(call.name, lambda tick: tick.values[source].select(kind.axis, kind.count - 1))
    return summary_of(shapes(call.twins))


def _series(planner: Planner, call: Call) -> tuple[Series | None, Tensor]:
    kind = planner.kinds[call["self"].name]
    moving = isinstance(kind, Series) and not kind.steady and not kind.clock
    return (kind if moving else None), planner.results[call["self"].name]


def _argument(node: fx.Node, place: int) -> Any:
    return node.args[place] if len(node.args) > place else None


def _end(node: fx.Node, length: int) -> int:
    end = _argument(node, 3)
    if end is None or end > _END:
        return length
    return min(end, length) if end >= 0 else length + end
