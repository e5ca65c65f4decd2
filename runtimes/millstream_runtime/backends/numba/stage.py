"""One stage as lines of Python, in the form that suits it."""

from __future__ import annotations

from collections.abc import Iterator

from millstream_runtime.backends.numba.dot_blocks import dot_block_lines
from millstream_runtime.backends.numba.expression import call, neutral
from millstream_runtime.backends.numba.loops import Loops
from millstream_runtime.backends.numba.reductions import COMBINE, block_lines, row_lines
from millstream_runtime.lanes import dot_block, is_blocked, reduced_axis, vector_operand
from millstream_runtime.program import Call, Expression, Reduction, Stage, read_back


def stage_lines(stage: Stage, constants: frozenset[str], parts: int) -> Iterator[str]:
    """The whole loop nest; `parts` sums of a dot product are kept for each lane."""
    loops, reduction, operand = Loops(stage, constants), stage.reduction, vector_operand(stage)
    if reduction is None:
        yield from loops.nest(range(loops.outer), [loops.store()])
    elif dot := dot_block(stage):
        yield from dot_block_lines(loops, dot, parts)
    elif operand is not None and is_blocked(stage):
        yield from block_lines(loops, operand, reduction.kind)
    elif operand is not None and (axis := reduced_axis(stage)) is not None:
        yield from row_lines(loops, operand, reduction.kind, axis)
    else:
        yield from loops.nest(range(loops.outer), _serial(loops, reduction))


def _serial(loops: Loops, reduction: Reduction) -> Iterator[str]:
    """The reduction and the value of one point, whatever the dtype."""
    total, kind, operand = loops.name(), reduction.kind, read_back(reduction)
    yield from loops.keep()
    yield f"{total} = {neutral(kind, operand.dtype)}"
    yield from loops.nest(range(loops.outer, len(loops.extents)), [_combined(loops, kind, operand, total)])
    yield loops.store(total)


def _combined(loops: Loops, kind: str, operand: Expression, total: str) -> str:
    """One more operand into the total."""
    point, dtype = loops.point(), operand.dtype
    if kind == "sum" and dtype.startswith("float"):
        match operand:
            case Call(operation="multiply", operands=(x, y)):
                return f"{total} = accumulate_product({total}, {point.text(x)}, {point.text(y)})"
        return f"{total} = accumulate({total}, {point.text(operand)})"
    return f"{total} = {call(COMBINE[kind], dtype, dtype, [total, point.text(operand)])}"
