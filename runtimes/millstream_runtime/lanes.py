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

from millstream_runtime.packing import parts_of, unpacked, weight_in
from millstream_runtime.program import (
    Access,
    Call,
    Constant,
    Expression,
    Load,
    Reduction,
    Stage,
    Stored,
    read_back,
    walk,
)

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

    Each byte of its own holds weights of `bits` for as many products side by side, each with a shared factor
    of its own. `offset` is what is added to a shared factor before it is multiplied.
    """

    shared: tuple[Load, ...]
    own: Load
    bits: int
    offset: int

    def weight(self, part: int) -> Expression:
        """What is multiplied by one of the shared factors, as int8."""
        return unpacked(self.own, self.bits, part)

    @property
    def loads(self) -> list[Load]:
        """All that it reads."""
        return [*self.shared, self.own]


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
        case Load():
            return expression.dtype == "float32" and not expression.access.lookups
        case Call(operation="cast", operands=(Load(dtype="float16") as half,)):
            return not half.access.lookups
        case Call(operation="cast", operands=(weight,)):
            found = weight_in(weight)
            return expression.dtype == "float32" and found is not None and not found[0].access.lookups
        case Call():
            return expression.operation in _VECTOR_OPERATIONS and all(map(_is_plain, expression.operands))
    return isinstance(expression, Constant | Stored) and expression.dtype == "float32"


def loads(expression: Expression) -> list[Load]:
    """Every load in an expression."""
    return [part for part in walk(expression) if isinstance(part, Load)]


def is_blocked(stage: Stage) -> bool:
    """True when the last axis can be lanes: every term is read with stride 0 or 1 along it."""
    operand = vector_operand(stage)
    if operand is None or not stage.extents or stage.extents[-1] < MIN_LANES:
        return False
    return all(access.strides[len(stage.extents) - 1] in (0, 1) for access in _walked(stage, operand))


def _walked(stage: Stage, operand: Expression) -> list[Access]:
    """The addresses of the terms, and of what the reduction keeps."""
    kept = stage.reduction and stage.reduction.kept
    return [load.access for load in loads(operand)] + ([kept.target] if kept else [])


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
        strides = (access.strides[outer + axis] for access in _walked(stage, operand))
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
    for dot in _dots(reduction.operand):
        ways = {_steps(load, outer) for load in dot.shared}
        if reduction.kind == "sum" and ways == {(0, 1)} and _steps(dot.own, outer) == (DOT, 1):
            return dot
    return None


def _steps(load: Load, outer: int) -> tuple[int, int]:
    """From one lane to the next, and from one product of a group to the next."""
    return load.access.strides[outer - 1], load.access.strides[-1]


def _dots(operand: Expression) -> Iterator[Dot]:
    """The ways to see a sum of int8 products in int32 as one dot product."""
    terms = list(_added(operand))
    for swapped in (False, True):
        factors = [_factors(term, swapped) for term in terms]
        found = [factor for factor in factors if factor is not None]
        if len(found) < len(factors):
            continue
        (_, offset, own, bits, _), *_ = found
        same = all(factor[1:4] == (offset, own, bits) for factor in found)
        if same and [factor[4] for factor in found] == list(range(parts_of(bits))):
            yield Dot(tuple(factor[0] for factor in found), own, bits, offset)


def _added(expression: Expression) -> Iterator[Expression]:
    """The terms of a sum of products."""
    match expression:
        case Call("add", (x, y)):
            yield from _added(x)
            yield from _added(y)
        case _:
            yield expression


def _factors(term: Expression, swapped: bool) -> tuple[Load, int, Load, int, int] | None:
    """A product's shared factor and what is added to it; its own, the bits of that and its part of them."""
    match term:
        case Call("multiply", (x, y), "int32"):
            shared, own = (y, x) if swapped else (x, y)
        case _:
            return None
    offset = 0
    match shared:
        case Call("add", (inner, Constant() as added)):
            shared, offset = inner, int(added.value)
    match shared, own:
        case Call("cast", (Load(dtype="int8") as load,)), Call("cast", (weight,)):
            found = weight_in(weight)
            if found and not load.access.lookups and not found[0].access.lookups:
                return (load, offset, *found)
    return None
