"""Which sums of a program can be done in vectors, and how wide: what every printer agrees on.

A blocked sum of float32 has an axis of lanes, the last of its stage, each lane with a total of its own.
Another sum may have a reduction axis that all terms are read contiguously along: its lanes are partial sums.

A blocked dot product is the exact sum of int8 products in int32. Its lanes are as above, and its last
reduction axis holds the `DOT` products that lie side by side and that one instruction adds up in a lane.
"""

from __future__ import annotations

from collections.abc import Iterator

from millstream_runtime.program import Call, Constant, Expression, Load, Reduction, Stage, walk

#: Vector registers that one block fills. Measured on 256 x 256: a quarter faster than 8, and 2 gains nothing.
REGISTERS = 4
#: Fewer lanes than this are not worth a vector.
MIN_LANES = 4
#: Products of int8 that one lane of int32 adds up at a time.
DOT = 4
_VECTOR_OPERATIONS = ("add", "subtract", "multiply")


def chunks(extent: int, lanes: int, registers: int = REGISTERS) -> Iterator[tuple[int, int, int]]:
    """Cut an axis into (start, count, width): full blocks, then powers of two, then a rest below `MIN_LANES`.

    Other widths are slow: LLVM pads a vector of 48 to 64 and moves its lanes one by one.
    """
    start, full = 0, lanes * registers
    while start < extent:
        rest = extent - start
        width = min(full, 1 << (rest.bit_length() - 1)) if rest >= MIN_LANES else rest
        yield start, rest // width, width
        start += rest // width * width


def vector_operand(stage: Stage) -> Expression | None:
    """The terms of a float32 sum when they are plain arithmetic on loads at addresses known beforehand."""
    reduction = stage.reduction
    if reduction is None or reduction.kind != "sum" or reduction.operand.dtype != "float32":
        return None
    return reduction.operand if all(map(_is_plain, walk(reduction.operand))) else None


def _is_plain(expression: Expression) -> bool:
    match expression:
        case Load():
            return not expression.access.lookups
        case Call():
            return expression.operation in _VECTOR_OPERATIONS
    return isinstance(expression, Constant)


def loads(expression: Expression) -> list[Load]:
    """Every load in an expression."""
    return [part for part in walk(expression) if isinstance(part, Load)]


def is_blocked(stage: Stage) -> bool:
    """True when the last axis can be lanes: every term is read with stride 0 or 1 along it."""
    operand = vector_operand(stage)
    if operand is None or not stage.extents or stage.extents[-1] < MIN_LANES:
        return False
    return all(load.access.strides[len(stage.extents) - 1] in (0, 1) for load in loads(operand))


def sum_axis(stage: Stage) -> int | None:
    """The reduction axis that every term of a vector sum is read contiguously along, if there is one."""
    operand = vector_operand(stage)
    if operand is None or stage.reduction is None:
        return None
    outer, inner = len(stage.extents), stage.reduction.extents
    for axis in reversed(range(len(inner))):
        strides = (load.access.strides[outer + axis] for load in loads(operand))
        if inner[axis] >= MIN_LANES and all(stride in (0, 1) for stride in strides):
            return outer + axis
    return None


def dot_factors(stage: Stage) -> tuple[Load, Load] | None:
    """The factors of an exact sum of int8 products in int32, read at addresses known beforehand."""
    match stage.reduction:
        case Reduction(
            "sum", _, Call("multiply", (Call("cast", (Load() as x,)), Call("cast", (Load() as y,))))
        ):
            plain = not x.access.lookups and not y.access.lookups
            exact = stage.reduction.operand.dtype == "int32"
            return (x, y) if plain and exact and x.dtype == y.dtype == "int8" else None
    return None


def dot_block(stage: Stage) -> tuple[Load, Load] | None:
    """The factors of a blocked dot product: what all lanes share, and what each lane has of its own."""
    factors, outer = dot_factors(stage), len(stage.extents)
    if factors is None or stage.reduction is None or not stage.extents or stage.extents[-1] < MIN_LANES:
        return None
    if stage.reduction.extents[-1:] != (DOT,):
        return None
    for shared, own in (factors, factors[::-1]):
        lane, last = (tuple(load.access.strides[axis] for load in (shared, own)) for axis in (outer - 1, -1))
        if (lane, last) == ((0, DOT), (1, 1)):
            return shared, own
    return None
