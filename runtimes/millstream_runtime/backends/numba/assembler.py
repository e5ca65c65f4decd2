"""Kernels written down as LLVM instructions.

Variables and arrays lie on the stack; LLVM moves them into registers. Importing this module imports numba: do
so only once a plan is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from llvmlite import ir

from millstream_runtime.backends.numba import operations
from millstream_runtime.backends.numba.cpu import Cpu
from millstream_runtime.backends.numba.dots import four_of
from millstream_runtime.backends.numba.values import (
    LANE,
    POINTER,
    WORD,
    Builder,
    Value,
    called,
    constant,
    joined,
    kind_of,
    like,
    picked,
    repeated,
    stored_kind,
)
from millstream_runtime.kernels import float16
from millstream_runtime.kernels.assembler import AVX512_LANES, Address, Index
from millstream_runtime.lanes import DOT
from millstream_runtime.program import item_size

#: In bytes.
_CACHE_LINE = 64


class LlvmAssembler:
    """See `millstream_runtime.kernels.assembler.Assembler`. `operands` are addresses by name."""

    def __init__(
        self, builder: Builder, cpu: Cpu, operands: Mapping[str, Value], constants: frozenset[str]
    ) -> None:
        self.machine = cpu.machine
        self.constants = constants
        self.builder = builder
        self._dot = cpu.dot
        self._operands = operands

    @contextmanager
    def loop(self, count: int) -> Iterator[Index]:
        builder, before = self.builder, self.builder.block
        body, after = (builder.append_basic_block() for _ in range(2))
        builder.branch(body)
        builder.position_at_end(body)
        running = builder.phi(WORD)
        running.add_incoming(WORD(0), before)
        yield Index(0, ((running, 1),))
        following = builder.add(running, WORD(1))
        running.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_unsigned("<", following, WORD(count)), body, after)
        builder.position_at_end(after)

    def load(self, address: Address, width: int = 1) -> Value:
        alone = 1 if width == 1 or address.stride == 0 else width
        if alone > 1 and address.stride != 1:
            value = joined(self.builder, [self._load(address, 1, lane) for lane in range(width)])
        else:
            value = repeated(self.builder, self._load(address, alone), width // alone)
        return self.call("cast", "uint8", "bool", [value], width) if address.dtype == "bool" else value

    def _load(self, address: Address, width: int, lane: int = 0) -> Value:
        place = self._place(address, lane)
        return self.builder.load(place, typ=stored_kind(address.dtype, width), align=item_size(address.dtype))

    def store(self, address: Address, value: Value, width: int = 1) -> None:
        is_bool, item = address.dtype == "bool", item_size(address.dtype)
        stored = self.call("cast", "bool", "uint8", [value], width) if is_bool else value
        if width == 1 or address.stride == 1:
            self.builder.store(stored, self._place(address), align=item)
            return
        for lane in range(width):
            self.builder.store(picked(self.builder, stored, [lane]), self._place(address, lane), align=item)

    def _place(self, address: Address, lane: int = 0) -> Value:
        """Where an element lies, or one of a vector's."""
        index = self.position(address.index.plus(lane * address.stride))
        for value, factor in address.lookups:
            index = self.builder.add(index, self.builder.mul(value, WORD(factor)))
        return self._element(self._operands[address.operand], address.dtype, index)

    def _element(self, base: Value, dtype: str, index: Value) -> Value:
        return self.builder.gep(base, [index], source_etype=stored_kind(dtype))

    def prefetch(self, address: Address, size: int) -> None:
        first = self._place(address)
        for line in range(0, size * (address.stride or 1), _CACHE_LINE):
            place = self.builder.gep(first, [WORD(line)], source_etype=ir.IntType(8))
            # To read, into every cache, data.
            hints = [LANE(0), LANE(3), LANE(1)]
            called(self.builder, "llvm.prefetch.p0", [place, *hints], ir.VoidType())

    def number(self, value: float | int | bool, dtype: str, width: int = 1) -> Value:
        return constant(kind_of(dtype, width), value)

    def position(self, index: Index) -> Value:
        total = WORD(index.offset)
        for value, factor in index.terms:
            term = value if factor == 1 else self.builder.mul(value, WORD(factor))
            total = self.builder.add(term, total)
        return total

    def held(self, index: Value, last: int) -> Value:
        above = self.call("maximum", "int64", "int64", [index, WORD(0)])
        return self.call("minimum", "int64", "int64", [above, WORD(last)])

    def call(
        self, operation: str, operand: str, result: str, values: Sequence[Value], width: int = 1
    ) -> Value:
        if "float16" in (operand, result):
            return float16.cast(self, operand, values[0], width)
        return operations.call(self.builder, operation, operand, result, values)

    def bind(self, value: Value, dtype: str, width: int = 1) -> Value:
        return value

    def variable(self, value: Value, dtype: str, width: int = 1) -> _Room:
        return _Room(self.builder, value, dtype, width)

    def array(self, value: Value, dtype: str, width: int) -> _Room:
        return _Room(self.builder, value, dtype, width)

    def shuffle(self, vectors: Sequence[Value], lanes: Sequence[int], dtype: str, width: int) -> Value:
        return picked(self.builder, vectors[0], lanes, *vectors[1:])

    def joined(self, vectors: Sequence[Value], dtype: str, width: int) -> Value:
        return joined(self.builder, vectors)

    def four(self, address: Address, offset: int) -> Value:
        return four_of(self.builder, self._place(address), bool(offset))

    def dot(self, totals: Value, four: Value, own: Value, lanes: int) -> Value:
        shared = self.builder.bitcast(repeated(self.builder, four, lanes), kind_of("int8", DOT * lanes))
        return self._dot.add(self.builder, totals, shared, own)

    def between(self, x: Value, low: Value, high: Value, width: int) -> Value:
        return operations.held_between(self.builder, x, low, high)

    def scaled(self, x: Value, exponent: Value, width: int) -> Value:
        if width == self.machine.lanes == AVX512_LANES:
            # All lanes, rounded as everything else is.
            operands = [x, exponent, x, ir.IntType(16)(-1), LANE(4)]
            return called(self.builder, "llvm.x86.avx512.mask.scalef.ps.512", operands)
        whole = self.builder.fptosi(exponent, kind_of("int32", width))
        # Two factors, because 2^exponent alone may be beyond float32 where the product is not.
        half = self.shifted(whole, -1, width)
        product = x
        for part in (half, self.builder.sub(whole, half)):
            product = self.builder.fmul(product, self._power_of_two(part, width))
        is_nan = self.call("is_nan", "float32", "bool", [x])
        return self.builder.select(is_nan, x, product)

    def _power_of_two(self, exponent: Value, width: int) -> Value:
        """2^exponent as float32, shifted into the exponent's bits."""
        biased = self.builder.add(exponent, like(exponent, 127))
        return self.from_bits(self.shifted(biased, 23, width), width)

    def bits(self, x: Value, width: int) -> Value:
        return self.builder.bitcast(x, kind_of("int32", width))

    def from_bits(self, x: Value, width: int) -> Value:
        return self.builder.bitcast(x, kind_of("float32", width))

    def shifted(self, x: Value, left: int, width: int) -> Value:
        return (self.builder.shl if left > 0 else self.builder.ashr)(x, like(x, abs(left)))


class _Room:
    """Memory on the stack that begins with a value: a variable, or an array."""

    def __init__(self, builder: Builder, value: Value, dtype: str, width: int) -> None:
        self._builder, self._dtype, self._width = builder, dtype, width
        with builder.goto_entry_block():
            self._room = builder.alloca(kind_of(dtype, width))
        # llvmlite still gives pointers types, which keep vectors of other widths out.
        self._room.type = POINTER
        self.set(value)

    def get(self, lanes: int = 0) -> Value:
        return self._builder.load(self._room, typ=kind_of(self._dtype, lanes or self._width))

    def set(self, value: Value, lanes: int = 0) -> None:
        self._builder.store(value, self._room)

    def at(self, index: Index, width: int = 1) -> Value:
        ((running, factor),) = index.terms or ((WORD(0), 1),)
        place = self._builder.add(self._builder.mul(running, WORD(factor)), WORD(index.offset))
        element = self._builder.gep(self._room, [place], source_etype=kind_of(self._dtype))
        return self._builder.load(element, typ=kind_of(self._dtype, width), align=item_size(self._dtype))
