"""Which reductions of a program can be done in vectors, and how wide: what every printer agrees on.

A blocked reduction of float32 has an axis of lanes, the last of its stage, each lane with a total of its
own. Another one may have a reduction axis that all terms are read contiguously along: its lanes are partial
results.

A blocked dot product is the exact sum of int8 products in int32. Its lanes are as above, and its last
reduction axis holds the `DOT` products that lie side by side and that one instruction adds up in a lane.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from millstream_runtime.program import Call, Constant, Expression, Load, Reduction, Stage, read_back, walk

#: Vector registers that one block fills. Measured on 256 x 256: a quarter faster than 8, and 2 gains nothing.
REGISTERS = 4
#: Fewer lanes than this are not worth a vector.
MIN_LANES = 4
#: Products of int8 that one lane of int32 adds up at a time.
DOT = 4
_VECTOR_REDUCTIONS = ("sum", "max", "min")
_VECTOR_OPERATIONS = ("add", "subtract", "multiply", "absolute", "negative")


@dataclass(frozen=True)
class Dot:
    """The factors of int8 products: what all lanes share, and what each lane has of its own.

    `offset` is what is added to the shared factor before it is multiplied.
    """

    shared: Load
    own: Load
    offset: int


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
    """The terms of a float32 reduction when they are plain arithmetic on loads at known addresses."""
    reduction = stage.reduction
    if reduction is None or reduction.kind not in _VECTOR_REDUCTIONS or reduction.operand.dtype != "float32":
        return None
    operand = read_back(reduction)
    return operand if _is_plain(operand) else None


def _is_plain(expression: Expression) -> bool:
    match expression:
        case Load() | Call(operation="cast", operands=(Load(dtype="int8"),)):
            return expression.dtype == "float32" and not any(x.access.lookups for x in loads(expression))
        case Call():
            return expression.operation in _VECTOR_OPERATIONS and all(map(_is_plain, expression.operands))
    return isinstance(expression, Constant) and expression.dtype == "float32"


def loads(expression: Expression) -> list[Load]:
    """Every load in an expression."""
    return [part for part in walk(expression) if isinstance(part, Load)]


def is_blocked(stage: Stage) -> bool:
    """True when the last axis can be lanes: every term is read with stride 0 or 1 along it."""
    operand = vector_operand(stage)
    if operand is None or not stage.extents or stage.extents[-1] < MIN_LANES:
        return False
    return all(load.access.strides[len(stage.extents) - 1] in (0, 1) for load in loads(operand))


def tile_axis(stage: Stage, terms: Sequence[Load]) -> int | None:
    """The outer axis beside the lanes whose points read the same weights: what moves along the lanes stands
    still on it, and something else moves."""
    lane = len(stage.extents) - 1
    for axis in range(lane):
        own = [load for load in terms if load.access.strides[lane]]
        still = not any(load.access.strides[axis] for load in own)
        if still and stage.extents[axis] > 1 and any(load.access.strides[axis] for load in terms):
            return axis
    return None


def reduced_axis(stage: Stage) -> int | None:
    """The reduction axis that every term is read contiguously along, if there is one."""
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


def dot_block(stage: Stage) -> Dot | None:
    """The blocked dot product that a stage is, if it is one."""
    outer, reduction = len(stage.extents), stage.reduction
    if reduction is None or not stage.extents or stage.extents[-1] < MIN_LANES:
        return None
    if reduction.extents[-1:] != (DOT,):
        return None
    for dot in _dots(stage):
        lane, last = (
            tuple(load.access.strides[axis] for load in (dot.shared, dot.own)) for axis in (outer - 1, -1)
        )
        if (lane, last) == ((0, DOT), (1, 1)):
            return dot
    return None


def _dots(stage: Stage) -> Iterator[Dot]:
    """Both ways to see the factors, and the one way where an offset says which is shared."""
    match stage.reduction:
        case Reduction(
            "sum",
            _,
            Call(
                "multiply",
                (
                    Call("add", (Call("cast", (Load() as shared,)), Constant() as offset)),
                    Call("cast", (Load() as own,)),
                ),
            ),
        ):
            if shared.dtype == own.dtype == "int8" and stage.reduction.operand.dtype == "int32":
                yield Dot(shared, own, int(offset.value))
    factors = dot_factors(stage)
    if factors:
        yield from (Dot(x, y, 0) for x, y in (factors, factors[::-1]))
