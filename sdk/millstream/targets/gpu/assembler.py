"""The code of one thread of a block, written as TVMScript."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from millstream.targets.gpu.forms import VECTOR, has_vectors
from millstream.targets.gpu.helpers import CASTS, DOT
from millstream.targets.tvm.assembler import TextAssembler
from millstream.targets.tvm.dots import PLAIN
from millstream.targets.tvm.levels import Level
from millstream.targets.tvm.literal import index_text, ramp, stored_dtype
from millstream_runtime.kernels.assembler import Address, Index
from millstream_runtime.program import item_size
from millstream_runtime.spec import Machine

#: One lane: threads take the place of vectors.
_LEVEL = Level("", "", 1, 1, Machine(), PLAIN, fuses=True)
#: The array in shared memory where the threads of a block meet, one for each dtype.
MEETING = "meeting"
_Place = tuple[str, tuple[tuple[str, int], ...]]


class ThreadAssembler(TextAssembler):
    """A TextAssembler with what only threads of a block have. `bases` says for an array where the block's
    part of it begins, as the text of an index; threads meet from byte `meeting` of shared memory on."""

    def __init__(self, bases: Mapping[str, str], meeting: int) -> None:
        super().__init__(_LEVEL, frozenset())
        self._bases = bases
        self._meeting = meeting
        self._held: dict[_Place, list[tuple[int, Sequence[str]]]] = {}

    def number(self, value: float | int | bool, dtype: str, width: int = 1) -> str:
        if not dtype.startswith("float") or value != 0:
            return super().number(value, dtype, width)
        # TVM takes 0 times anything for 0, which NaN and infinity break, but does not see through a name.
        zero = f"T.Cast('{dtype}', nought)"
        return f"(T.{dtype}(-1.0) * {zero})" if math.copysign(1, value) < 0 else zero

    def between(self, x: str, low: str, high: str, width: int) -> str:
        # What devices call max and min drops NaN.
        x = self.bind(x, "float32")
        return f"T.Select({x} < {low}, {low}, T.Select({x} > {high}, {high}, {x}))"

    def of_float16(self, operand: str, value: str, width: int) -> str:
        # Devices have instructions for it.
        result = {"float16": "float32", "float32": stored_dtype("float16")}[operand]
        return f"T.call_pure_extern('{result}', '{CASTS[operand]}', {value})"

    def bind(self, value: str, dtype: str, width: int = 1) -> str:
        # Compilers of devices read names, not what stands behind them; and it may be a whole vector.
        if width > 1 or value.isidentifier() or value in self._vectors:
            return super().bind(value, dtype, width)
        return self._let(value)

    @contextmanager
    def inside(self, text: str) -> Iterator[None]:
        """What is written within stands in a block that begins with `text`."""
        self.line(text)
        self._depth += 1
        yield
        self._depth -= 1

    @contextmanager
    def when(self, condition: str | None) -> Iterator[None]:
        """What is written within runs where the condition holds; None always does."""
        if condition is None:
            yield
            return
        with self.inside(f"with T.If({condition}):"), self.inside("with T.Then():"):
            yield

    def least(self, index: Index, most: int) -> Index:
        """An index, but no more than `most`."""
        text = index_text(index)
        # In whole vectors, which TVM must see.
        number = self.bind(f"T.shift_right(T.min({text}, {most}), {VECTOR.bit_length() - 1})", "int32")
        return Index(0, ((number, VECTOR),))

    def part(self, dtype: str, index: str) -> str:
        """The place of a part of a sum in shared memory."""
        return f"{MEETING}_{dtype}[{index} + {self._meeting // item_size(dtype)}]"

    def meeting(self, dtype: str, index: Index) -> Address:
        """An element of what threads bring each other in shared memory."""
        return Address(f"{MEETING}_{dtype}", dtype, index.plus(self._meeting // item_size(dtype)))

    @contextmanager
    def repeated(self, count: int) -> Iterator[Index]:
        """What is written within runs `count` times, and nothing held there outlives it."""
        if count == 1:
            yield Index()
            return
        with self.loop(count) as running, self.holding():
            yield running

    def barrier(self) -> None:
        """All threads of the block meet, and see what the others have stored."""
        self.line("T.evaluate(T.tvm_storage_sync('shared'))")

    def split(self, number: str, extents: Sequence[int]) -> list[Index]:
        """The indices of a running number over axes of these extents, the last the fastest."""
        found = []
        for extent in reversed(extents):
            if extent == 1:
                found.append(Index())
                continue
            if extent & (extent - 1):
                this, number = f"T.truncmod({number}, {extent})", f"T.truncdiv({number}, {extent})"
            else:
                this = f"T.bitwise_and({number}, {extent - 1})"
                number = f"T.shift_right({number}, {extent.bit_length() - 1})"
            found.append(Index(0, ((self.bind(this, "int32"), 1),)))
            number = self.bind(number, "int32")
        return found[::-1]

    @contextmanager
    def holding(self) -> Iterator[None]:
        """What is held within is forgotten behind it."""
        before = self._held
        self._held = {place: list(kept) for place, kept in before.items()}
        yield
        self._held = before

    def hold(self, address: Address, width: int) -> None:
        """Read an element, or `width` neighbours, once for all that is written before `holding` ends."""
        if is_holdable(address) and self._kept(address) is None:
            self.hold_copy(address, address, width)

    def hold_copy(self, address: Address, copy: Address, width: int) -> None:
        """The same for neighbours that have been copied."""
        value = self.vector(copy, width)
        self.hold_as(address, [value] if width == 1 else _lanes(value, width))

    def hold_as(self, address: Address, values: Sequence[str]) -> None:
        """Neighbours from an address on have these values in all that is written before `holding` ends."""
        self._held.setdefault(_place(address), []).append((address.index.offset, values))

    def room(self, address: Address, width: int) -> list[str]:
        """New variables for `width` neighbours."""
        name = self.name()
        self.line(f"{name} = T.alloc_buffer(({width},), '{stored_dtype(address.dtype)}')")
        return [f"{name}[{lane}]" for lane in range(width)]

    def fetch(self, address: Address, variables: Sequence[str]) -> None:
        """Read neighbours from an address on into variables."""
        width = len(variables)
        for variable, value in zip(variables, _lanes(self.vector(address, width), width), strict=True):
            self.line(f"{variable} = {value}")

    def vector(self, address: Address, width: int) -> str:
        """Neighbours from an address on, read at once."""
        return self.bind(f"{address.operand}[{self._index(address, width)}]", address.dtype)

    def load(self, address: Address, width: int = 1) -> str:
        kept = None if address.lookups or address.dtype == "bool" else self._kept(address)
        return kept if kept is not None else super().load(address, width)

    def dot(self, totals: str, four: str, own: str, lanes: int) -> str:
        # The name of one lane's.
        return f"T.call_pure_extern('int32', '{DOT}', {four}, {own}, {totals})"

    def store_lanes(self, address: Address, values: Sequence[str]) -> None:
        """Neighbouring elements, stored at once."""
        vector = f"T.Shuffle([{', '.join(values)}], {list(range(len(values)))})"
        self.store_vector(address, vector, len(values))

    def store_vector(self, address: Address, vector: str, width: int) -> None:
        """A vector into neighbouring elements."""
        self.line(f"{address.operand}[{self._index(address, width)}] = {vector}")

    def _kept(self, address: Address) -> str | None:
        for offset, values in self._held.get(_place(address), ()):
            lane = address.index.offset - offset
            if 0 <= lane < len(values):
                return values[lane]
        return None

    def _place(self, address: Address, width: int) -> str:
        return f"{address.operand}[{self._index(address, 1)}]"

    def _index(self, address: Address, width: int) -> str:
        lookups = [f"T.Cast('int32', {value}) * {factor}" for value, factor in address.lookups]
        terms = [base for base in [self._bases.get(address.operand)] if base]
        if address.index.terms or lookups:
            terms.append(f"T.Cast('int64', {index_text(Index(0, address.index.terms), lookups)})")
        # By itself, not in the sum of 32 bits: so compilers see that it is no part of the address.
        terms.append(f"T.int64({address.index.offset})")
        return ramp(" + ".join(terms), width)


def is_holdable(address: Address) -> bool:
    """Whether registers hold it, and vectors of it exist."""
    return not address.lookups and has_vectors(address.dtype)


def _lanes(vector: str, width: int) -> list[str]:
    return [f"T.Shuffle([{vector}], [{lane}])" for lane in range(width)]


def _place(address: Address) -> _Place:
    """What two addresses have in common whose distance is known."""
    return (address.operand, tuple(sorted(address.index.terms)))
