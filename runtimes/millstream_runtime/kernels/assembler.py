"""What a kernel is written down with: the few things that every language of kernels has.

A value is whatever the assembler makes of it: a text, an instruction. It is a scalar, or a vector of `width`
lanes, and its maker knows which. A bool is a value of its own kind, and a byte in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

Value = Any
#: Of float32; no other CPU has so many.
AVX512_LANES = 16


@dataclass(frozen=True)
class Index:
    """offset + sum(running index * factor): the running indices are values of `Assembler.loop`."""

    offset: int = 0
    terms: tuple[tuple[Value, int], ...] = ()

    def times(self, factor: int) -> Index:
        return Index(self.offset * factor, tuple((i, f * factor) for i, f in self.terms) if factor else ())

    def plus(self, offset: int) -> Index:
        return Index(self.offset + offset, self.terms)

    def __add__(self, other: Index) -> Index:
        return Index(self.offset + other.offset, self.terms + other.terms)


@dataclass(frozen=True)
class Address:
    """An element of an operand, and the distance in elements from one lane of a vector to the next.

    `lookups` are further terms of the index, known only when the code runs: values (int64) and factors.
    """

    operand: str
    dtype: str
    index: Index
    stride: int = 0
    lookups: tuple[tuple[Value, int], ...] = ()


@dataclass(frozen=True)
class Machine:
    """What decides on the form of a kernel.

    `lanes` float32 fill a vector register; 1 means plain loops. The totals of `rows` blocks of lanes fit into
    all registers. A dot product takes up to `dot_lanes` lanes at a time, and keeps `dot_parts` sums of each.
    """

    lanes: int
    rows: int
    dot_lanes: int
    dot_parts: int


class Variable(Protocol):
    """A value that changes, all of it or its first `lanes`."""

    def get(self, lanes: int = 0) -> Value: ...

    def set(self, value: Value, lanes: int = 0) -> None: ...


class Array(Protocol):
    """The lanes of a value in memory."""

    def at(self, index: Index, width: int = 1) -> Value:
        """One lane, or `width` lanes from there on."""
        ...


class Assembler(Protocol):
    """Writes the code of one function. Where no width is given a value is a scalar."""

    machine: Machine
    #: The operands that never change.
    constants: frozenset[str]

    def loop(self, count: int) -> AbstractContextManager[Index]:
        """What is written within runs `count` times; gives the running index."""
        ...

    def load(self, address: Address, width: int = 1) -> Value: ...

    def store(self, address: Address, value: Value, width: int = 1) -> None: ...

    def prefetch(self, address: Address, size: int) -> None:
        """Ask for `size` bytes from an address on, which need not exist."""
        ...

    def number(self, value: float | int | bool, dtype: str, width: int = 1) -> Value:
        """A constant in every lane."""
        ...

    def position(self, index: Index) -> Value:
        """A running index as int64."""
        ...

    def held(self, index: Value, last: int) -> Value:
        """An int64 no lower than 0 and no higher than `last`."""
        ...

    def call(
        self, operation: str, operand: str, result: str, values: Sequence[Value], width: int = 1
    ) -> Value:
        """An operation of `millstream_runtime.program.OPERATIONS` on operands of dtype `operand`."""
        ...

    def bind(self, value: Value, dtype: str, width: int = 1) -> Value:
        """The same value, fit to be used more than once."""
        ...

    def variable(self, value: Value, dtype: str, width: int = 1) -> Variable:
        """A variable that begins with a value."""
        ...

    def array(self, value: Value, dtype: str, width: int) -> Array: ...

    def shuffle(self, vectors: Sequence[Value], lanes: Sequence[int], dtype: str, width: int) -> Value:
        """The lanes with these numbers of one or two vectors of `width` lanes, the second's counted on."""
        ...

    def joined(self, vectors: Sequence[Value], dtype: str, width: int) -> Value:
        """One vector of several of `width` lanes each."""
        ...

    def four(self, address: Address, offset: int) -> Value:
        """Four int8 for `dot`; with an offset of 128 each is turned into a uint8."""
        ...

    def dot(self, totals: Value, four: Value, own: Value, lanes: int) -> Value:
        """Totals (int32 x lanes * dot_parts) with the products of four shared int8 and each lane's own
        four."""
        ...

    # For the approximations of float32 functions.

    def between(self, x: Value, low: Value, high: Value, width: int) -> Value:
        """x (float32) no lower than `low` and no higher than `high`; NaN stays NaN."""
        ...

    def scaled(self, x: Value, exponent: Value, width: int) -> Value:
        """x * 2^exponent, both float32 and the exponent whole, from -160 to 160; NaN where both are NaN."""
        ...

    def bits(self, x: Value, width: int) -> Value:
        """The bits of a float32 as int32."""
        ...

    def from_bits(self, x: Value, width: int) -> Value:
        """The float32 whose bits are an int32."""
        ...

    def shifted(self, x: Value, left: int, width: int) -> Value:
        """An int32 shifted to the left, or for a negative number to the right with its sign."""
        ...
