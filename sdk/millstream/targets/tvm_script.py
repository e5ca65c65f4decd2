"""A blocked program printed as TVMScript: one `PrimFunc` for the whole step, streams in the outer loop.

Parameters: the number of streams, then one flat buffer each for `parameters(program)`. Constants and scratch
are one parameter per dtype, because TVM takes two parameters to be two places in memory. A bool is passed
as uint8. Buffers of the caller are only aligned to their elements: TVM assumes 64 bytes unless told.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from millstream.targets.blocks import MIN_LANES, chunks, is_blocked, loads, vector_operand
from millstream.targets.tvm_literal import limits, literal
from millstream.targets.tvm_scalar import Scalars
from millstream_runtime.program import (
    Access,
    Accumulated,
    AxisIndex,
    Buffer,
    Call,
    Constant,
    Expression,
    Load,
    Program,
    Stage,
    item_size,
)

_CALLER = ("input", "state", "output", "next_state")
_SHARED = ("constant", "scratch")
_LOOP = {"sum": "add", "product": "multiply", "max": "maximum", "min": "minimum"}
#: Registers of partial sums when the sum itself is spread over lanes.
_SUM_REGISTERS = 2


def parameters(program: Program) -> tuple[Buffer, ...]:
    """The buffers that the printed function takes, in order; constants and scratch merged by dtype."""
    caller = [buffer for role in _CALLER for buffer in program.role(role)]
    return (*_merged(program, "constant"), *_merged(program, "scratch"), *caller)


def _merged(program: Program, role: str) -> Iterator[Buffer]:
    ends: dict[str, int] = {}
    for buffer in program.role(role):
        end = buffer.offset // item_size(buffer.dtype) + buffer.size
        ends[buffer.dtype] = max(end, ends.get(buffer.dtype, 0))
    for dtype, size in sorted(ends.items()):
        yield Buffer(f"{role}.{dtype}", role, dtype, size)


def print_program(program: Program, lanes: int) -> str:
    """The source of `step`; `lanes` float32 fill one vector register."""
    places = _places(program)
    taken = ["streams: T.int64", *(_parameter(n, b) for n, b in enumerate(parameters(program)))]
    lines = ["@T.prim_func(s_tir=True)", f"def step({', '.join(taken)}):"]
    lines.append('    T.func_attr({"global_symbol": "step", "tir.noalias": True})')
    lines.append("    for stream in range(streams):")
    counter = itertools.count()
    for stage in program.stages:
        lines += [f"        {line}" for line in _Printer(stage, places, lanes, counter).lines()]
    return "\n".join(lines) + "\n"


def _stored(dtype: str) -> str:
    return "uint8" if dtype == "bool" else dtype


def _parameter(number: int, buffer: Buffer) -> str:
    shared = buffer.role in _SHARED
    shape = str(buffer.size) if shared else f"streams * {buffer.size}"
    align = 64 if shared else item_size(buffer.dtype)
    return f'p{number}: T.Buffer(({shape},), "{_stored(buffer.dtype)}", align={align})'


def _places(program: Program) -> dict[str, tuple[str, str]]:
    """For each buffer the parameter that holds it, and the text of its first element's index there."""
    numbers = {buffer.name: number for number, buffer in enumerate(parameters(program))}
    places = {}
    for buffer in program.buffers:
        if buffer.role in _SHARED:
            number = numbers[f"{buffer.role}.{buffer.dtype}"]
            places[buffer.name] = (f"p{number}", str(buffer.offset // item_size(buffer.dtype)))
        else:
            places[buffer.name] = (f"p{numbers[buffer.name]}", f"stream * {buffer.size}")
    return places


@dataclass
class _Vector:
    """The lanes of a vector: which axis they run along, how many, and where the first one is."""

    axis: int
    width: int
    start: str


class _Printer:
    """One stage as lines of TVMScript."""

    def __init__(
        self, stage: Stage, places: dict[str, tuple[str, str]], lanes: int, counter: Iterator[int]
    ) -> None:
        self.stage = stage
        self.places = places
        self.lanes = lanes
        self.counter = counter
        self.outer = len(stage.extents)
        self.extents = stage.extents + (stage.reduction.extents if stage.reduction else ())
        self.index = {axis: f"i{axis}" if extent > 1 else "0" for axis, extent in enumerate(self.extents)}
        self.total = ""

    def lines(self) -> Iterator[str]:
        """The whole loop nest, in the form that suits the stage."""
        operand = vector_operand(self.stage)
        if operand is not None and is_blocked(self.stage):
            yield from self._nest(range(self.outer - 1), self._block(operand))
        elif operand is not None and (axis := self._sum_axis(operand)) is not None:
            yield from self._nest(range(self.outer), [*self._sum_over_lanes(axis, operand), *self._store()])
        else:
            yield from self._nest(range(self.outer), [*self._serial_reduction(), *self._store()])

    def _nest(self, axes: range, body: Iterator[str] | list[str]) -> Iterator[str]:
        """Loops over `axes` around `body`; an axis of one point needs none."""
        depth = 0
        for axis in axes:
            if self.extents[axis] > 1:
                yield "    " * depth + f"for i{axis} in range({self.extents[axis]}):"
                depth += 1
        for line in body:
            yield "    " * depth + line

    def _store(self) -> Iterator[str]:
        scalars = Scalars(self.counter.__next__)
        value = self._scalar(self.stage.value, scalars)
        yield from scalars.lines
        if self.stage.value.dtype == "bool":
            value = f"T.Cast('uint8', {value})"
        yield f"{self._place(self.stage.target, scalars)} = {value}"

    def _block(self, operand: Expression) -> Iterator[str]:
        """All lanes of the last axis at once, then the value of each in turn."""
        axis, width = self.outer - 1, self.extents[self.outer - 1]
        sets = self._accumulators(width)
        totals = [f"t{next(self.counter)}" for _ in range(sets)]
        for total in totals:
            yield f"{total} = T.alloc_buffer(({width},), 'float32')"
            yield f"{total}[{_ramp('0', width)}] = {_splat('T.float32(0)', width)}"
        terms = self._terms(operand, _Vector(axis, width, "0"), totals)
        yield from self._nest(range(self.outer, len(self.extents) - 1), self._innermost(sets, terms))
        self.total = f"{totals[0]}[{self.index[axis]}]"
        for other in totals[1:]:
            yield _add(totals[0], f"{other}[{_ramp('0', width)}]", width)
        yield from self._nest(range(axis, self.outer), self._store())

    def _accumulators(self, width: int) -> int:
        """Sets of sums that keep the adders busy when one block alone does not."""
        innermost = self.extents[-1]
        return next(n for n in (8, 4, 2, 1) if (n * width <= 8 * self.lanes and innermost % n == 0) or n == 1)

    def _innermost(self, step: int, body: list[str]) -> Iterator[str]:
        """The last loop of the reduction, `step` points at a time."""
        yield f"for i{len(self.extents) - 1} in range({self.extents[-1] // step}):"
        yield from ("    " + line for line in body)

    def _terms(self, operand: Expression, vector: _Vector, totals: list[str]) -> list[str]:
        """One line per set of sums, each a step of the innermost reduction axis further."""
        last, lines = len(self.extents) - 1, []
        whole = self.index[last]
        for number, total in enumerate(totals):
            self.index[last] = f"(i{last} * {len(totals)} + {number})" if len(totals) > 1 else f"i{last}"
            lines.append(_add(total, self._vector(operand, vector), vector.width))
        self.index[last] = whole
        return lines

    def _sum_axis(self, operand: Expression) -> int | None:
        """The reduction axis that every term is read contiguously along."""
        terms = loads(operand)
        for axis in reversed(range(self.outer, len(self.extents))):
            if self.extents[axis] >= MIN_LANES and all(t.access.strides[axis] in (0, 1) for t in terms):
                return axis
        return None

    def _sum_over_lanes(self, axis: int, operand: Expression) -> Iterator[str]:
        """Partial sums in lanes, halved until one is left."""
        parts = list(chunks(self.extents[axis], self.lanes, _SUM_REGISTERS))
        width = 1 << (min(self.extents[axis], self.lanes * _SUM_REGISTERS).bit_length() - 1)
        total = f"t{next(self.counter)}"
        self.total = f"{total}[0]"
        yield f"{total} = T.alloc_buffer(({width},), 'float32')"
        yield f"{total}[{_ramp('0', width)}] = {_splat('T.float32(0)', width)}"
        others = [a for a in range(self.outer, len(self.extents)) if a != axis and self.extents[a] > 1]
        indent = ""
        for other in others:
            yield f"{indent}for i{other} in range({self.extents[other]}):"
            indent += "    "
        for start, count, size in parts:
            yield from (indent + line for line in self._sum_part(operand, axis, total, start, count, size))
        while width > 2:
            width //= 2
            yield _add(total, f"{total}[{_ramp(str(width), width)}]", width)
        yield f"{total}[0] = {total}[0] + {total}[1]"

    def _sum_part(
        self, operand: Expression, axis: int, total: str, start: int, count: int, width: int
    ) -> Iterator[str]:
        yield f"for i{axis} in range({count}):"
        if width >= MIN_LANES:
            vector = _Vector(axis, width, f"(i{axis} * {width} + {start})")
            yield "    " + _add(total, self._vector(operand, vector), width)
            return
        whole = self.index[axis]
        for lane in range(width):
            self.index[axis] = f"(i{axis} * {width} + {start + lane})"
            yield f"    {total}[0] = {total}[0] + {self._scalar(operand, Scalars(self.counter.__next__))}"
        self.index[axis] = whole

    def _serial_reduction(self) -> Iterator[str]:
        reduction = self.stage.reduction
        if reduction is None:
            return
        dtype = reduction.operand.dtype
        total = f"t{next(self.counter)}"
        self.total = f"{total}[0]" if dtype != "bool" else f"({total}[0] != T.uint8(0))"
        yield f"{total} = T.alloc_buffer((1,), '{_stored(dtype)}')"
        scalars = Scalars(self.counter.__next__)
        operand = self._scalar(reduction.operand, scalars)
        combined = scalars.call(_LOOP[reduction.kind], dtype, dtype, [self.total, operand])
        start = literal(_neutral(reduction.kind, dtype), dtype)
        if dtype == "bool":
            start, combined = f"T.Cast('uint8', {start})", f"T.Cast('uint8', {combined})"
        yield f"{total}[0] = {start}"
        body = [*scalars.lines, f"{total}[0] = {combined}"]
        yield from self._nest(range(self.outer, len(self.extents)), body)

    def _scalar(self, expression: Expression, scalars: Scalars) -> str:
        match expression:
            case Load():
                place = self._place(expression.access, scalars)
                return f"({place} != T.uint8(0))" if expression.dtype == "bool" else place
            case Constant():
                return literal(expression.value, expression.dtype)
            case AxisIndex():
                return f"T.Cast('int64', {self.index[expression.axis]})"
            case Accumulated():
                return self.total
            case Call():
                texts = [self._scalar(operand, scalars) for operand in expression.operands]
                dtype = expression.operands[-1].dtype
                return scalars.call(expression.operation, dtype, expression.dtype, texts)

    def _vector(self, expression: Expression, vector: _Vector) -> str:
        match expression:
            case Load():
                return self._vector_load(expression.access, vector)
            case Call():
                x, y = (self._vector(operand, vector) for operand in expression.operands)
                symbol = {"add": "+", "subtract": "-", "multiply": "*"}[expression.operation]
                return f"({x} {symbol} {y})"
        return _splat(self._scalar(expression, Scalars(self.counter.__next__)), vector.width)

    def _vector_load(self, access: Access, vector: _Vector) -> str:
        whole = self.index[vector.axis]
        self.index[vector.axis] = vector.start
        name, base = self._address(access, Scalars(self.counter.__next__))
        self.index[vector.axis] = whole
        if access.strides[vector.axis]:
            return f"{name}[{_ramp(base, vector.width)}]"
        return _splat(f"{name}[{base}]", vector.width)

    def _place(self, access: Access, scalars: Scalars) -> str:
        return "{}[{}]".format(*self._address(access, scalars))

    def _address(self, access: Access, scalars: Scalars) -> tuple[str, str]:
        """The parameter and the text of the index into it."""
        name, base = self.places[access.buffer]
        terms = [base] if base != "0" else []
        terms += [str(access.offset)] if access.offset else []
        for axis, stride in enumerate(access.strides):
            if stride and self.index[axis] != "0":
                terms.append(self.index[axis] if stride == 1 else f"{self.index[axis]} * {stride}")
        for lookup in access.lookups:
            index = scalars.bind(self._scalar(lookup.index, scalars))
            held = f"T.max(T.int64(0), T.min({index}, T.int64({lookup.extent - 1})))"
            terms.append(f"{held} * {lookup.stride}")
        return name, " + ".join(terms) or "0"


def _neutral(kind: str, dtype: str) -> float | int | bool:
    """What a reduction starts from."""
    if kind in ("sum", "product"):
        return int(kind == "product")
    if dtype == "bool":
        return kind == "min"
    if dtype.startswith("float"):
        return float("-inf") if kind == "max" else float("inf")
    return limits(dtype)[0 if kind == "max" else 1]


def _ramp(start: str, width: int) -> str:
    return f"T.ramp({start}, 1, {width})"


def _splat(text: str, width: int) -> str:
    return f"T.Broadcast({text}, {width})"


def _add(total: str, term: str, width: int) -> str:
    """total += term on the first `width` lanes."""
    place = f"{total}[{_ramp('0', width)}]"
    return f"{place} = {place} + {term}"
