"""Terms of a wide product by way of the memory that the threads of a block share.

While the threads add up the terms of one chunk, the next is on its way from the device's memory into their
registers; from there it goes into the other of two places for panels, and all threads meet. Which terms a
thread takes, and in which order, is as if it had read them by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from millstream.targets.gpu.assembler import ThreadAssembler
from millstream.targets.gpu.forms import VECTOR
from millstream.targets.gpu.items import Items
from millstream.targets.gpu.panels import CHUNK, Panel, bytes_of, places_of
from millstream.targets.tvm.literal import index_text
from millstream_runtime.kernels.assembler import Address, Index
from millstream_runtime.kernels.point import Point
from millstream_runtime.program import item_size

_STREAM, _PLACE, _TERM = range(3)


@dataclass(frozen=True)
class _Copy:
    """A vector of a panel that a thread brings: where it comes from, a chunk's first term and the block's
    first place being 0, and which of the panel's vectors it becomes."""

    panel: Panel
    point: tuple[Index, Index, Index]
    vector: str


class Staging:
    """The panels of a stage and a thread's way to them, the first chunk brought already. `point` is the first
    of its item."""

    def __init__(self, items: Items, write: ThreadAssembler, point: Point) -> None:
        self._items, self._write, self._point = items, write, point
        self._size, self._terms = bytes_of(items.panels), items.stage.all_extents[_TERM]
        vectors = places_of(items.form, items.tile) // VECTOR
        place = self._bound(f"T.shift_right({index_text(point.index[_PLACE])}, {_bits(VECTOR)})")
        within = self._bound(f"T.bitwise_and({place}, {vectors - 1})")
        self._first = Index(0, ((self._bound(f"{place} - {within}"), VECTOR),))
        stream = index_text(point.index[_STREAM])
        #: Which of a panel's vectors the item's begin with.
        self._own = [self._vector(panel, stream, "0") if panel.streams else within for panel in items.panels]
        self._copies = [copy for panel in items.panels for copy in self._brought(panel)]
        self._store(self._fetch(Index()), "0")
        write.barrier()

    def part(self, part: Index, take: Callable[[Point], None]) -> None:
        """The terms of a part of every sum, `take` writing each; the chunk behind it is on its way."""
        count = self._terms // self._items.form.parts // CHUNK
        with self._write.repeated(count) as running:
            chunk = part.times(count) + running
            here = self._bound(f"T.bitwise_and({index_text(chunk)}, 1)")
            # Behind the last there is none, and it comes once more.
            brought = self._fetch(self._write.least(chunk.plus(1).times(CHUNK), self._terms - CHUNK))
            begins = [self._address(*each, here) for each in zip(self._items.panels, self._own, strict=True)]
            # No loop: compilers put off behind it what they need behind it alone.
            for term in range(0, CHUNK, VECTOR):
                self._add(self._point.at(_TERM, chunk.times(CHUNK).plus(term)), term, begins, take)
            self._store(brought, self._bound(f"T.bitwise_xor({here}, 1)"))
            self._write.barrier()

    def _add(self, point: Point, term: int, begins: Sequence[Address], take: Callable[[Point], None]) -> None:
        """The terms of one vector, the first of them at a point, and by its number in the chunk."""
        with self._write.holding():
            for panel, begin in zip(self._items.panels, begins, strict=True):
                for own, behind in self._needed(panel, point, term):
                    copy = Address(begin.operand, begin.dtype, begin.index.plus(behind))
                    self._write.hold_copy(own.address(panel.load.access, panel.load.dtype), copy, VECTOR)
            for step in range(VECTOR):
                take(point.at(_TERM, point.index[_TERM].plus(step)))

    def _needed(self, panel: Panel, point: Point, term: int) -> Iterator[tuple[Point, int]]:
        """The item's vectors of a panel: the point that each is of, and how far behind the item's first."""
        items, row = self._items, panel.vectors * VECTOR
        if panel.streams:
            for stream in range(panel.streams):
                yield items.stream(point, stream), stream * row + term
            return
        for step in range(VECTOR):
            at = point.at(_TERM, point.index[_TERM].plus(step))
            for lane in range(0, items.form.width, VECTOR):
                own = items.lane(at, lane)
                behind = own.index[_PLACE].offset - point.index[_PLACE].offset
                yield own, (term + step) * row + behind

    def _brought(self, panel: Panel) -> Iterator[_Copy]:
        """The vectors that a thread brings of a panel, every so many rows one."""
        rows = self._items.tile.threads // panel.vectors
        first, vector = self._write.split("thread", [rows, panel.vectors])
        for number in range(0, panel.rows, rows):
            row, along = first.plus(number), vector.times(VECTOR)
            point = (row, Index(), along) if panel.streams else (Index(), along, row)
            yield _Copy(panel, point, self._vector(panel, index_text(row), index_text(vector)))

    def _vector(self, panel: Panel, row: str, vector: str) -> str:
        """The number of a vector in its panel."""
        text = f"({row}) * {panel.vectors} + {vector}"
        if panel.streams:
            text += f" + T.shift_right({row}, {_bits(panel.streams)})"
        return self._bound(text)

    def _fetch(self, term: Index) -> list[str]:
        """Read what this thread brings of the chunk that begins with a term."""
        found = []
        for copy in self._copies:
            stream, place, behind = copy.point
            point = self._point.at(_PLACE, self._first + place).at(_TERM, term + behind)
            load = copy.panel.load
            address = point.at(_STREAM, stream).address(load.access, load.dtype)
            found.append(self._write.vector(address, VECTOR))
        return found

    def _store(self, brought: Sequence[str], place: str) -> None:
        """Put what was read into the panels in one of both places."""
        for copy, vector in zip(self._copies, brought, strict=True):
            self._write.store_vector(self._address(copy.panel, copy.vector, place), vector, VECTOR)

    def _address(self, panel: Panel, vector: str, place: str) -> Address:
        """A vector of a panel in one of both places."""
        size = item_size(panel.load.dtype)
        # As wide as addresses, or compilers join it to what is behind it before they make it so.
        apart = self._size // size // VECTOR
        text = f"T.Cast('int64', {vector}) + T.Cast('int64', {place}) * T.int64({apart})"
        index = Index(panel.begin // size, ((self._write.bind(text, "int64"), VECTOR),))
        return self._write.meeting(panel.load.dtype, index)

    def _bound(self, text: str) -> str:
        return self._write.bind(text, "int32")


def _bits(number: int) -> int:
    """Of a power of two."""
    return number.bit_length() - 1
