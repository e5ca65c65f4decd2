"""Kernels written down as TVMScript: values are texts.

A text names memory where it can, so it must be used before that memory changes; what is used twice is bound.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from millstream.targets.tvm.formulas import Formulas
from millstream.targets.tvm.fusing import Products
from millstream.targets.tvm.levels import Level
from millstream.targets.tvm.literal import index_text, literal, loaded, ramp, splat, stored, stored_dtype
from millstream.targets.tvm.rounding import ROUNDING
from millstream_runtime.kernels import float16
from millstream_runtime.kernels.assembler import AVX512_LANES, Address, Index, Machine
from millstream_runtime.lanes import DOT
from millstream_runtime.program import item_size

#: Characters of a scalar's text from which on it is kept in memory.
_LONG = 160
#: In bytes.
_CACHE_LINE = 64
# The numbers say: to read, into every cache, data.
_PREFETCH = (
    "T.call_llvm_intrin('void', 'llvm.prefetch', T.address_of({}), T.int32(0), T.int32(3), T.int32(1))"
)
#: All lanes, rounded as everything else is.
_SCALE = (
    "T.call_llvm_pure_intrin('float32x16', 'llvm.x86.avx512.mask.scalef.ps.512', "
    "{x}, {exponent}, {x}, T.uint16(65535), T.int32(4))"
)
#: Each byte of an int32 with its highest bit turned: int8 becomes uint8, 128 more.
_TURN = -0x7F7F7F80


class TextAssembler:
    """See `millstream_runtime.kernels.assembler.Assembler`. `lines` collects what is written."""

    def __init__(self, level: Level, constants: frozenset[str]) -> None:
        self.machine = Machine(level.lanes, level.rows, level.dot.lanes, level.dot.parts)
        self.constants = constants
        self.lines: list[str] = []
        self._level = level
        self._depth = 0
        self._numbers = itertools.count()
        self._vectors: set[str] = set()
        self._products = Products()

    def line(self, text: str) -> None:
        """One more line of code."""
        self.lines.append("    " * self._depth + text)

    def name(self) -> str:
        """A new name."""
        return f"v{next(self._numbers)}"

    @contextmanager
    def loop(self, count: int) -> Iterator[Index]:
        name = f"i{next(self._numbers)}"
        self.line(f"for {name} in range({count}):")
        self._depth += 1
        yield Index(0, ((name, 1),))
        self._depth -= 1

    def load(self, address: Address, width: int = 1) -> str:
        return loaded(self._place(address, width), address.dtype)

    def store(self, address: Address, value: str, width: int = 1) -> None:
        self.line(f"{self._place(address, width)} = {stored(value, address.dtype)}")

    def _place(self, address: Address, width: int) -> str:
        index = index_text(address.index, [f"{value} * {factor}" for value, factor in address.lookups])
        if width > 1 and address.stride:
            return f"{address.operand}[{ramp(index, width, address.stride)}]"
        return splat(f"{address.operand}[{index}]", width)

    def prefetch(self, address: Address, size: int) -> None:
        per_line = _CACHE_LINE * (address.stride or 1) // item_size(address.dtype)
        for number in range(-(-size // _CACHE_LINE)):
            element = f"{address.operand}[{index_text(address.index.plus(number * per_line))}]"
            self.line(f"T.evaluate({_PREFETCH.format(element)})")

    def number(self, value: float | int | bool, dtype: str, width: int = 1) -> str:
        return splat(literal(value, dtype), width)

    def position(self, index: Index) -> str:
        return f"T.Cast('int64', {index_text(index)})"

    def held(self, index: str, last: int) -> str:
        return f"T.max(T.int64(0), T.min({self.bind(index, 'int64')}, T.int64({last})))"

    def call(self, operation: str, operand: str, result: str, values: Sequence[str], width: int = 1) -> str:
        if "float16" in (operand, result):
            return self.of_float16(operand, values[0], width)
        if operation in ROUNDING and operand == "float32" and not self._level.rounds:
            return ROUNDING[operation](self, values[0], width)
        fuses = self._level.fuses and operand.startswith("float")
        if fuses and operation in ("add", "subtract"):
            fused = self._products.fused(operation, operand, values[0], values[1], width)
            if fused:
                return fused
        text = Formulas(self, width).call(operation, operand, result, list(values))
        if fuses and operation == "multiply":
            self._products.add(text, values[0], values[1])
        return text

    def of_float16(self, operand: str, value: str, width: int) -> str:
        """A float16 cast to float32, or the other way round."""
        return float16.cast(self, operand, value, width)

    def bind(self, value: str, dtype: str, width: int = 1) -> str:
        if value.isidentifier() or value in self._vectors:
            return value
        if width == 1 and len(value) < _LONG:
            return self._let(value)
        # TVM's analysis of vectors bound by T.let takes seconds; scalars it puts into all that read them, and
        # two exponentials in a row grow until LLVM takes minutes.
        place = self.variable(value, dtype, width).get()
        self._vectors.add(place)
        return place

    def _let(self, value: str) -> str:
        """A name for a scalar, which TVM puts into all that read it."""
        name = self.name()
        self.line(f"{name}: T.let = {value}")
        return name

    def variable(self, value: str, dtype: str, width: int = 1) -> _Buffer:
        return _Buffer(self, value, dtype, width)

    def array(self, value: str, dtype: str, width: int) -> _Buffer:
        return _Buffer(self, value, dtype, width)

    def shuffle(self, vectors: Sequence[str], lanes: Sequence[int], dtype: str, width: int) -> str:
        return f"T.Shuffle([{', '.join(vectors)}], {list(lanes)})"

    def joined(self, vectors: Sequence[str], dtype: str, width: int) -> str:
        name, whole = self.name(), len(vectors) * width
        self.line(f"{name} = T.alloc_buffer(({whole},), '{dtype}')")
        for number, vector in enumerate(vectors):
            self.line(f"{name}[{ramp(str(number * width), width)}] = {vector}")
        self._vectors.add(f"{name}[{ramp('0', whole)}]")
        return f"{name}[{ramp('0', whole)}]"

    def four(self, address: Address, offset: int) -> str:
        four = f"T.reinterpret('int32', {address.operand}[{ramp(index_text(address.index), DOT)}])"
        four = self.bind(four, "int32")
        return f"T.bitwise_xor({four}, T.int32({_TURN}))" if offset else four

    def dot(self, totals: str, four: str, own: str, lanes: int) -> str:
        shared = f"T.reinterpret('int8x{DOT * lanes}', T.Broadcast({four}, {lanes}))"
        return self._level.dot.add(lanes, totals, shared, own)

    def between(self, x: str, low: str, high: str, width: int) -> str:
        return f"T.min({high}, T.max({low}, {x}))"

    def scaled(self, x: str, exponent: str, width: int) -> str:
        if width == self.machine.lanes == AVX512_LANES:
            return _SCALE.format(x=self.bind(x, "float32", width), exponent=exponent)
        x = self.bind(x, "float32", width)
        whole = self.bind(f"T.Cast('{_of('int32', width)}', {exponent})", "int32", width)
        # Two factors, because 2^exponent alone may be beyond float32 where the product is not.
        half = self.bind(self.shifted(whole, -1, width), "int32", width)
        first, second = (self._power_of_two(part, width) for part in (half, f"({whole} - {half})"))
        return f"T.Select(T.isnan({x}), {x}, {x} * {first} * {second})"

    def _power_of_two(self, exponent: str, width: int) -> str:
        """2^exponent as float32, shifted into the exponent's bits."""
        biased = f"({exponent} + {self.number(127, 'int32', width)})"
        return self.from_bits(self.shifted(biased, 23, width), width)

    def bits(self, x: str, width: int) -> str:
        return f"T.reinterpret('{_of('int32', width)}', {x})"

    def from_bits(self, x: str, width: int) -> str:
        return f"T.reinterpret('{_of('float32', width)}', {x})"

    def shifted(self, x: str, left: int, width: int) -> str:
        way = "left" if left > 0 else "right"
        return f"T.shift_{way}({x}, {self.number(abs(left), 'int32', width)})"


class _Buffer:
    """A buffer on the stack that begins with a value: a variable, or an array."""

    def __init__(self, write: TextAssembler, value: str, dtype: str, width: int) -> None:
        self._write, self._name, self._dtype, self._width = write, write.name(), dtype, width
        write.line(f"{self._name} = T.alloc_buffer(({width},), '{stored_dtype(dtype)}')")
        self.set(value)

    def get(self, lanes: int = 0) -> str:
        return loaded(f"{self._name}[{ramp('0', lanes or self._width)}]", self._dtype)

    def set(self, value: str, lanes: int = 0) -> None:
        place = f"{self._name}[{ramp('0', lanes or self._width)}]"
        self._write.line(f"{place} = {stored(value, self._dtype)}")

    def at(self, index: Index, width: int = 1) -> str:
        return loaded(f"{self._name}[{ramp(index_text(index), width)}]", self._dtype)


def _of(dtype: str, width: int) -> str:
    """The dtype of a text of so many lanes."""
    return dtype if width == 1 else f"{dtype}x{width}"
