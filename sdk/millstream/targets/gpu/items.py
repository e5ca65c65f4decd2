"""What the threads of a block share out of a stage: items, each a few places and streams of its points."""

from __future__ import annotations

from collections.abc import Iterable

from millstream.targets.gpu.assembler import ThreadAssembler
from millstream.targets.gpu.dots import in_words
from millstream.targets.gpu.forms import VECTOR, Tile, form_of
from millstream.targets.gpu.panels import NEAR, SHARING, bytes_of, panels
from millstream_runtime.kernels.assembler import Index
from millstream_runtime.kernels.point import Point
from millstream_runtime.program import Stage, item_size

#: Threads side by side that read neighbouring places before the next streams' turn.
_WARP = 32


class Items:
    """The items of a stage whose first axis are the streams of a tile, `at_once` of them in one round of a
    block. Axes are numbered as in the stage."""

    def __init__(self, stage: Stage, tile: Tile) -> None:
        self.stage, self.tile = in_words(stage), tile
        self.form = form = form_of(self.stage, tile)
        self.outer = len(stage.extents)
        self.count = tile.streams // form.streams
        for extent in stage.extents[1:]:
            self.count *= extent
        self.count //= form.width
        self.at_once = tile.threads // form.parts if form.shared else tile.threads
        self.panels = panels(self.stage, form, tile)

    @property
    def rounds(self) -> int:
        """How often a block of threads goes to work until the stage is done."""
        return -(-self.count // self.at_once)

    @property
    def busy(self) -> int:
        """Threads of a block that have something to do."""
        return min(self.count * (self.form.parts if self.form.shared else 1), self.tile.threads)

    @property
    def sums(self) -> int:
        """Sums of one item."""
        return self.form.streams * self.form.width

    @property
    def meeting_bytes(self) -> int:
        """Bytes of shared memory in which parts of sums meet, or two chunks of panels lie."""
        if self._parts_dtype:
            return self.apart * self.sums * item_size(self._parts_dtype)
        return 2 * bytes_of(self.panels)

    @property
    def met_in(self) -> set[str]:
        """The dtypes of what is there."""
        return {self._parts_dtype} if self._parts_dtype else {panel.load.dtype for panel in self.panels}

    @property
    def _parts_dtype(self) -> str:
        """That of the parts of sums that threads share; empty where each has its own sums."""
        reduction = self.stage.reduction
        return reduction.operand.dtype if reduction and self.form.shared else ""

    @property
    def apart(self) -> int:
        """Elements from the parts of one of an item's sums to those of the next, in shared memory."""
        return self.at_once * (self.form.parts + 1) if self.form.neighbours else self.tile.threads

    @property
    def vector(self) -> int:
        """Places of an item that lie side by side."""
        return 1 if self.form.neighbours else VECTOR

    @property
    def _lanes(self) -> int:
        """Items along the last axis."""
        return self.stage.extents[-1] // self.form.width if self.outer > 1 else 1

    @property
    def near(self) -> int:
        """Places that neighbouring threads take, before the same places of other streams are taken."""
        return min(self._lanes & -self._lanes, NEAR if self.panels else _WARP)

    def split(self, write: ThreadAssembler) -> tuple[str, str]:
        """The number of a thread's item in a round, and that of its part."""
        if not self.form.shared:
            return "thread", "0"
        by = self.form.parts if self.form.neighbours else self.at_once
        within = write.bind(f"T.bitwise_and(thread, {by - 1})", "int32")
        above = write.bind(f"T.shift_right(thread, {by.bit_length() - 1})", "int32")
        return (above, within) if self.form.neighbours else (within, above)

    def number(self, write: ThreadAssembler, turn: str, item: str) -> str:
        """An item of a round among all."""
        return write.bind(f"{turn} * {self.at_once} + {item}", "int32") if turn != "0" else item

    def exists(self, number: str) -> str | None:
        """The condition that there is such an item; None where all are."""
        return f"{number} < {self.count}" if self.count % self.at_once else None

    def point(self, write: ThreadAssembler, number: str) -> Point:
        """The first point of an item."""
        form, extents, near = self.form, self.stage.extents, self.near
        if self.panels:
            others, (far, stream, lane) = [], self._in_a_rectangle(write, number)
        else:
            counts = [*extents[1:-1], self._lanes // near, self.tile.streams // form.streams, near]
            *others, far, stream, lane = write.split(number, counts)
        index = [stream.times(form.streams), *others]
        if self.outer > 1:
            # What a thread reads at once are vectors, one behind those of its neighbours.
            index.append(far.times(near * form.width) + lane.times(min(form.width, self.vector)))
        inner = len(self.stage.all_extents) - self.outer
        return Point(write, (*index, *(Index() for _ in range(inner))))

    def _in_a_rectangle(self, write: ThreadAssembler, number: str) -> tuple[Index, Index, Index]:
        """Which `near` places, which streams and which of the places the item of a number has.

        A block has a rectangle of places and all streams, each of its warps `NEAR` by `SHARING` items of it.
        Of four threads side by side two read the same, whether places or streams.
        """
        streams, half = self.tile.streams // self.form.streams, SHARING // 2
        blocks, across = self.count // self.at_once, self.at_once // streams // NEAR
        counts = [blocks, streams // SHARING, across, half, NEAR, SHARING // half]
        block, above, far, second, lane, first = write.split(number, counts)
        stream = above.times(SHARING) + second.times(SHARING // half) + first
        return block.times(across) + far, stream, lane

    def stream(self, point: Point, stream: int) -> Point:
        """One of the streams of an item."""
        return point.at(0, point.index[0].plus(stream))

    def lane(self, point: Point, lane: int) -> Point:
        """One of the places of an item."""
        last = self.outer - 1
        if not last:
            return point
        vector, within = divmod(lane, self.vector)
        return point.at(last, point.index[last].plus(vector * self.near * self.vector + within))

    def one(self, write: ThreadAssembler, point: Point, which: str) -> Point:
        """The point of one of an item's sums, by its number, which is known when the code runs."""
        if self.sums == 1:
            return point
        vectors = -(-self.form.width // self.vector)
        counts = [self.form.streams, vectors, self.form.width // vectors]
        stream, vector, lane = write.split(which, counts)
        point = point.at(0, point.index[0] + stream)
        last = self.outer - 1
        if not last:
            return point
        return point.at(last, point.index[last] + vector.times(self.near * self.vector) + lane)


def meeting_bytes(stages: Iterable[Items]) -> int:
    """Bytes of shared memory in which the threads meet over one of these stages."""
    return max((stage.meeting_bytes for stage in stages), default=0)
