"""One stage as a loop nest in TVMScript, in the form that suits it.

A map takes vectors along one axis. A reduction either has an axis of lanes (see `blocks`), each with its own
total, or is itself spread over lanes; the value that finishes it is a vector again. What has no vector form
is done element by element.
"""

from __future__ import annotations

from collections.abc import Iterator

from millstream.targets.tvm.dots import dot_block_lines
from millstream.targets.tvm.formulas import has_vector_form
from millstream.targets.tvm.levels import Level
from millstream.targets.tvm.literal import literal
from millstream.targets.tvm.loops import Loops, stored
from millstream.targets.tvm.point import Names
from millstream.targets.tvm.reductions import COMBINE, block_lines, neutral, row_lines
from millstream_runtime.lanes import dot_block, is_blocked, reduced_axis, vector_operand
from millstream_runtime.program import Stage, read_back


def stage_lines(stage: Stage, names: Names, level: Level) -> Iterator[str]:
    """The whole loop nest, for one class of CPUs."""
    loops = Loops(stage, names, level.lanes, level.rows)
    # One lane is no vector: such a machine gets plain loops.
    operand, dot = (vector_operand(stage), dot_block(stage)) if level.lanes > 1 else (None, None)
    if stage.reduction is None:
        yield from _map(loops)
    elif dot is not None:
        yield from dot_block_lines(loops, dot, level.dot)
    elif operand is not None and is_blocked(stage):
        yield from block_lines(loops, operand, stage.reduction.kind)
    elif operand is not None and (axis := reduced_axis(stage)) is not None and _keeps_vectors(stage):
        yield from row_lines(loops, operand, stage.reduction.kind, axis)
    else:
        yield from loops.nest(range(loops.outer), _serial(loops))


def _keeps_vectors(stage: Stage) -> bool:
    """True when what the reduction keeps, if anything, can be computed in vectors."""
    kept = stage.reduction and stage.reduction.kept
    return kept is None or has_vector_form(kept.value)


def _map(loops: Loops) -> Iterator[str]:
    axis = next((axis for axis in reversed(range(loops.outer)) if loops.vectors_along(axis)), None)
    if axis is None:
        return loops.nest(range(loops.outer), loops.store(loops.point()))
    others = [other for other in range(loops.outer) if other != axis]
    return loops.nest(others, loops.sweep(axis, 1, loops.store))


def _serial(loops: Loops) -> Iterator[str]:
    """The reduction and the value of one point, whatever the dtype."""
    reduction = loops.stage.reduction
    if reduction is None:
        return
    dtype, name, point = reduction.operand.dtype, loops.name(), loops.point()
    total = f"{name}[0]" if dtype != "bool" else f"({name}[0] != T.uint8(0))"
    operand = point.text(read_back(reduction))
    combined = point.formulas.call(COMBINE[reduction.kind], dtype, dtype, [total, operand])
    start = literal(neutral(reduction.kind, dtype), dtype)
    if dtype == "bool":
        start, combined = f"T.Cast('uint8', {start})", f"T.Cast('uint8', {combined})"
    yield f"{name} = T.alloc_buffer((1,), '{stored(dtype)}')"
    yield f"{name}[0] = {start}"
    body = [*loops.keep(loops.point()), *point.formulas.lines, f"{name}[0] = {combined}"]
    yield from loops.nest(range(loops.outer, len(loops.extents)), body)
    yield from loops.store(loops.point(), total)
