"""Positions: torch.arange over the frames becomes a count of frames, one per stream."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from millstream.streamify.operators.local import without_frames
from millstream.streamify.planner import Call, Planner, shapes
from millstream.streamify.refusal import Stuck
from millstream.streamify.tick import Tick
from millstream.streamify.timing import Kind


def arange(planner: Planner, call: Call) -> Kind:
    """arange(start, end, step) whose end grows with the sequence."""
    found = shapes(call.twins)
    if not found.time_axes:
        return without_frames(planner, call, [])
    start, step = call.named.get("start", 0), call.named.get("step", 1)
    if any(isinstance(v, (int, float)) and v < 0 for v in (step,)) or _grows(call, "start"):
        raise Stuck("positions that count from the end", "count from the first frame")
    timing, dtype = planner.series(found), planner.results[call.name].dtype

    def run(tick: Tick) -> Tensor:
        return (tick.index(timing) * step + start).to(dtype)

    planner.emit(call.name, run)
    return replace(timing, clock=True)


def _grows(call: Call, name: str) -> bool:
    """Whether an argument differs between a short and a long sequence."""
    if name not in call.named:
        return False
    return bool(call.twins[0].args[0] != call.twins[1].args[0])
