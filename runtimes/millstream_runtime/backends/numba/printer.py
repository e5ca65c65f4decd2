"""A program printed as Python loops for Numba.

The printed function takes a table of addresses, as `millstream_runtime.backends.table` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from millstream_runtime.backends.numba.expression import Point, call, neutral
from millstream_runtime.lanes import MIN_LANES, chunks, is_blocked, loads, sum_axis
from millstream_runtime.program import (
    Access,
    Accumulated,
    Call,
    Expression,
    Load,
    Program,
    Stage,
    item_size,
    walk,
)

#: The widest vectors; LLVM cuts them into the registers that the CPU has.
_WIDTH = 64
#: Elements of a sum that is spread over lanes, at a time.
_SUM_WIDTH = 32
#: Stages of one printed function.
_PART = 8
#: In float32, as in the TVM printer.
_PREFETCH_DISTANCE = 512


def print_program(program: Program) -> str:
    """The source of `step(table)` for a checked program.

    The stages are shared out to several functions, because the time that Numba takes grows faster than the
    length of a function.
    """
    names = {buffer.name: f"b{number}" for number, buffer in enumerate(program.buffers)}
    pointers = _pointers(program, names)
    constants = {buffer.name for buffer in program.role("constant")}
    lines, calls = [], []
    for start in range(0, len(program.stages), _PART):
        part = program.stages[start : start + _PART]
        lines += ["@part", f"def part{start}(table, stream):"]
        used = {access.buffer for stage in part for access in _addresses(stage)}
        lines += [f"    {line}" for name, line in pointers.items() if name in used]
        for number, stage in enumerate(part):
            lines += [f"    {line}" for line in _Stage(stage, names, constants, number).lines()]
        calls.append(f"        part{start}(table, stream)")
    lines += ["def step(table):", "    for stream in range(table[0]):", *(calls or ["        pass"])]
    return "\n".join(lines) + "\n"


def _pointers(program: Program, names: dict[str, str]) -> dict[str, str]:
    """One typed pointer per buffer: the caller's advance from stream to stream, the others stay."""
    words = {buffer.name: word for word, buffer in enumerate(program.callers, start=3)}
    pointers = {}
    for buffer in program.buffers:
        if buffer.name in words:
            address = f"table[{words[buffer.name]}] + stream * {buffer.size * item_size(buffer.dtype)}"
        else:
            address = f"table[{1 if buffer.role == 'constant' else 2}] + {buffer.offset}"
        pointers[buffer.name] = f"{names[buffer.name]} = POINTERS_{buffer.dtype}({address})"
    return pointers


def _addresses(stage: Stage) -> Iterator[Access]:
    """Every address of a stage."""
    yield stage.target
    roots = [stage.value, *([stage.reduction.operand] if stage.reduction else [])]
    yield from (part.access for root in roots for part in walk(root) if isinstance(part, Load))


class _Stage:
    """One stage as lines of Python. Its names end in its number, lest Numba unite two types."""

    def __init__(self, stage: Stage, names: dict[str, str], constants: set[str], number: int) -> None:
        self.stage = stage
        self.names = names
        self.constants = constants
        self.number = number
        self.total = f"t{number}"
        self.outer = len(stage.extents)
        self.extents = stage.extents + (stage.reduction.extents if stage.reduction else ())
        self.index = tuple(f"i{axis}" if extent > 1 else "0" for axis, extent in enumerate(self.extents))

    def lines(self) -> Iterator[str]:
        """The loop nest. A float32 reduction stores its results first; the loop that makes values of them
        is one of its own, of which LLVM makes vectors."""
        outer, reduction, value = range(self.outer), self.stage.reduction, self.stage.value
        apart = reduction is not None and reduction.operand.dtype == value.dtype == "float32"
        if not apart or reduction is None:
            yield from self._nest(outer, [*self._reduction(), self._store(self.total)])
            return
        target = self._point().place(self.stage.target)
        if self._is_block():
            yield from self._nest(outer[:-1], self._block(reduction.operand))
        else:
            yield from self._nest(outer, [*self._reduction(), f"{target} = {self.total}"])
        if not isinstance(value, Accumulated):
            yield from self._nest(outer, [self._store(target)])

    def _point(self, axis: int = -1, first: str = "", total: str = "") -> Point:
        """The point at the loops' indices, with `axis` at `first`."""
        index = tuple(first if other == axis else text for other, text in enumerate(self.index))
        return Point(self.names, index, total)

    def _store(self, total: str) -> str:
        point, value = self._point(total=total), self.stage.value
        text = f"uint8({point.text(value)})" if value.dtype == "bool" else point.text(value)
        return f"{point.place(self.stage.target)} = {text}"

    def _nest(self, axes: Iterable[int], body: Iterable[str]) -> Iterator[str]:
        """Loops over `axes` around `body`; an axis of one point needs none."""
        indent = ""
        for axis in axes:
            if self.extents[axis] > 1:
                yield f"{indent}for i{axis} in range({self.extents[axis]}):"
                indent += "    "
        for line in body:
            yield indent + line

    def _is_block(self) -> bool:
        """True when the last axis is one vector, whose sums can be stored where the values will be."""
        if not is_blocked(self.stage):
            return False
        width = self.stage.extents[-1]
        return width <= _WIDTH and width.bit_count() == 1 and self.stage.target.strides[-1] == 1

    def _block(self, operand: Expression) -> Iterator[str]:
        """The sums of all lanes at once, in several sets where one alone would leave the adders idle."""
        axis, last, width = self.outer - 1, len(self.extents) - 1, self.extents[self.outer - 1]
        sets = next(n for n in (4, 2, 1) if n == 1 or (n * width <= _WIDTH and self.extents[last] % n == 0))
        totals = [f"v{self.number}_{k}" for k in range(sets)]
        yield from (f"{total} = splat(float32(0.0), {width})" for total in totals)
        body = [f"for i{last} in range({self.extents[last] // sets}):"]
        for number, total in enumerate(totals):
            index = (*self.index[:axis], "0", *self.index[axis + 1 : -1], f"(i{last} * {sets} + {number})")
            point = Point(self.names, index)
            body.append(f"    {_accumulated(total, point, operand, axis, width)}")
            body += (f"    {line}" for line in self._prefetch(operand, point, axis, width))
        yield from self._nest(range(self.outer, last), body)
        yield from (f"{totals[0]} = add_vectors({totals[0]}, {other})" for other in totals[1:])
        target, place = self.stage.target, self._point(axis, "0")
        yield f"store_vector({self.names[target.buffer]}, {place.address(target)}, {totals[0]})"

    def _prefetch(self, operand: Expression, point: Point, axis: int, width: int) -> Iterator[str]:
        """Ask for the weights that come a few steps later: they stream past every cache but the last."""
        for load in loads(operand):
            if load.access.buffer in self.constants and load.access.strides[axis]:
                place = f"{point.address(load.access)} + {_PREFETCH_DISTANCE}"
                yield f"prefetch({self.names[load.access.buffer]}, {place}, {width})"

    def _reduction(self) -> Iterator[str]:
        """The reduction of one point, into `total`."""
        reduction = self.stage.reduction
        if reduction is None:
            return
        yield f"{self.total} = {neutral(reduction.kind, reduction.operand.dtype)}"
        axis = sum_axis(self.stage)
        if axis is not None:
            yield from self._sum_over_lanes(axis, reduction.operand)
            return
        combined = self._combine(reduction.kind, reduction.operand)
        yield from self._nest(range(self.outer, len(self.extents)), [combined])

    def _sum_over_lanes(self, axis: int, operand: Expression) -> Iterator[str]:
        """Partial sums in vectors, whose lanes are added at the end."""
        body: list[str] = []
        totals: dict[str, int] = {}
        for start, count, width in chunks(self.extents[axis], _SUM_WIDTH, 1):
            if width < MIN_LANES:
                body.append(f"for i{axis} in range({start}, {start + count * width}):")
                body.append(f"    {self._combine('sum', operand)}")
                continue
            total = f"v{self.number}_{len(totals)}"
            totals[total] = width
            body.append(f"for i{axis} in range({start}, {start + count * width}, {width}):")
            body.append(f"    {_accumulated(total, self._point(axis, f'i{axis}'), operand, axis, width)}")
        yield from (f"{total} = splat(float32(0.0), {width})" for total, width in totals.items())
        yield from self._nest((k for k in range(self.outer, len(self.extents)) if k != axis), body)
        yield from (f"{self.total} = accumulate({self.total}, sum_vector({total}))" for total in totals)

    def _combine(self, kind: str, operand: Expression) -> str:
        """One more operand into `total`."""
        point, dtype = self._point(), operand.dtype
        if kind == "sum" and dtype.startswith("float"):
            match operand:
                case Call(operation="multiply", operands=(x, y)):
                    product = f"{point.text(x)}, {point.text(y)}"
                    return f"{self.total} = accumulate_product({self.total}, {product})"
            return f"{self.total} = accumulate({self.total}, {point.text(operand)})"
        operation = {"sum": "add", "product": "multiply", "max": "maximum", "min": "minimum"}[kind]
        return f"{self.total} = {call(operation, dtype, dtype, [self.total, point.text(operand)])}"


def _accumulated(total: str, point: Point, operand: Expression, axis: int, width: int) -> str:
    """One more vector of terms into a vector of totals."""
    match operand:
        case Call(operation="multiply", operands=(x, y)):
            product = f"{point.vector(x, axis, width)}, {point.vector(y, axis, width)}"
            return f"{total} = accumulate_product({total}, {product})"
    return f"{total} = accumulate({total}, {point.vector(operand, axis, width)})"
