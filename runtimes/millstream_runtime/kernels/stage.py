"""One stage in the form that suits it.

A map takes vectors along one axis. A reduction either has an axis of lanes, each with its own total, or is
itself spread over lanes; the value that finishes it is a vector again. What has no vector form is done
element by element.
"""

from __future__ import annotations

from millstream_runtime.kernels.assembler import Assembler
from millstream_runtime.kernels.dots import write_dot_block
from millstream_runtime.kernels.forms import keeps_vectors
from millstream_runtime.kernels.loops import Loops
from millstream_runtime.kernels.reductions import COMBINE, write_block, write_rows
from millstream_runtime.lanes import dot_block, is_blocked, reduced_axis, vector_operand
from millstream_runtime.program import Reduction, Stage, neutral, read_back


def write_stage(stage: Stage, write: Assembler) -> None:
    """Write the whole loop nest."""
    loops, reduction = Loops(stage, write), stage.reduction
    # One lane is no vector: such a machine gets plain loops.
    operand, dot = (vector_operand(stage), dot_block(stage)) if write.machine.lanes > 1 else (None, None)
    if reduction is None:
        _write_map(loops)
    elif dot is not None:
        write_dot_block(loops, dot)
    elif operand is not None and is_blocked(stage):
        write_block(loops, operand, reduction.kind)
    elif operand is not None and keeps_vectors(stage) and (axis := reduced_axis(stage)) is not None:
        write_rows(loops, operand, reduction.kind, axis)
    else:
        _write_one_by_one(loops, reduction)


def _write_map(loops: Loops) -> None:
    axis = next((axis for axis in reversed(range(loops.outer)) if loops.vectors_along(axis)), None)
    others = [other for other in range(loops.outer) if other != axis]
    with loops.nest(others, loops.origin) as point:
        if axis is None:
            loops.store(point)
        else:
            loops.sweep(axis, 1, point, loops.store)


def _write_one_by_one(loops: Loops, reduction: Reduction) -> None:
    """The reduction and the value of one point after the other, whatever the dtype."""
    write, operand, dtype = loops.write, read_back(reduction), reduction.operand.dtype
    with loops.nest(range(loops.outer), loops.origin) as point:
        total = write.variable(write.number(neutral(reduction.kind, dtype), dtype), dtype)
        with loops.nest(range(loops.outer, len(loops.extents)), point) as term:
            kept = loops.keep(term)
            values = [total.get(), term.value(operand, kept)]
            total.set(write.call(COMBINE[reduction.kind], dtype, dtype, values))
        loops.store(point, total.get())
