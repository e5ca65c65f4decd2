"""How a block of threads shares the work of one stage.

The threads of a block serve a tile of streams, the first axis of every stage here. Which sums are cut into
how many parts depends on the stage alone, never on the tile: a stream has the same numbers whoever it is
stepped with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from millstream.targets.gpu.dots import words_in
from millstream_runtime.lanes import DOT, loads
from millstream_runtime.program import Access, Expression, Load, Stage, item_size, walk

#: Elements that a thread reads and writes at once.
VECTOR = 4
#: Streams whose sums one thread keeps, so that it reads a weight once for all of them.
_STREAMS = 8
#: Sums of a thread that are worth more than a share in them.
_WORTH = 16
#: Parts of one sum, and terms that are worth a thread of their own.
_MOST_PARTS, _FEWEST_TERMS = 32, 32
#: Sums of neighbouring terms that a thread may have a part of.
_ROWS = (8, 4, 2)
#: Threads that share a sum whose terms are neighbours: those of a warp.
_MOST_NEIGHBOURS = 32


@dataclass(frozen=True)
class Tile:
    """A block of `threads` threads for `streams` streams, both powers of two.

    Where streams are few, sums are cut among `spread` threads of many blocks, so that all of a device reads
    weights.
    """

    streams: int
    threads: int
    spread: int = 0

    @property
    def busy(self) -> int:
        """Threads that shall have something to do."""
        return max(self.threads, self.spread)


@dataclass(frozen=True)
class Form:
    """How one stage is shared out.

    A thread computes the points of `streams` streams and of `width` places along the last axis. Every sum is
    cut into `parts` along `axis`, one of its own; where it is `shared`, each part has a thread, and
    `neighbours` says that those of one sum stand side by side and take its terms by turns, `VECTOR` at a time
    where these are `whole`.
    """

    streams: int
    width: int
    axis: int = -1
    parts: int = 1
    shared: bool = False
    neighbours: bool = False
    whole: bool = False


def form_of(stage: Stage, tile: Tile) -> Form:
    """The form of a stage in words whose first axis are the streams of a tile."""
    last = len(stage.extents) - 1
    wide = _is_whole(stage.extents[last], last) and _stored_whole(stage, last)
    reduction = stage.reduction
    if reduction is None:
        return Form(1, VECTOR if wide and last > 0 else 1)
    axis = _longest(stage)
    terms = loads(reduction.operand) + (loads(reduction.kept.value) if reduction.kept else [])
    if last > 0 and _side_by_side(terms, last):
        return _register_tile(stage, tile, axis, wide and _in_vectors(terms, last))
    if not _side_by_side(terms, axis):
        return Form(1, 1, axis)
    extent = stage.all_extents[axis]
    whole = extent % VECTOR == 0 and _in_vectors(terms, axis) and _kept_whole(stage, axis)
    parts = _power_of_two(extent // VECTOR if whole else extent, _MOST_NEIGHBOURS)
    form = Form(1, 1, axis, parts, shared=parts > 1, neighbours=True, whole=whole)
    return replace(form, width=_rows(stage, tile, parts)) if form.shared and last > 0 else form


def _rows(stage: Stage, tile: Tile, parts: int) -> int:
    """Sums of neighbouring terms that a thread has a part of: as many as leave every thread something to do,
    so that much is on its way from memory at once."""
    points = tile.streams * _points(stage)
    fits = (rows for rows in _ROWS if stage.extents[-1] % rows == 0)
    return next((rows for rows in fits if points // rows * parts >= tile.busy), 1)


def _register_tile(stage: Stage, tile: Tile, axis: int, wide: bool) -> Form:
    """Streams and places of one thread: as many as leave every thread something to do."""
    dots, most = _is_dot(stage), _STREAMS if _shares_terms(stage) else 1
    parts = _parts(stage.all_extents[axis], DOT if dots else 1)
    streams = [s for s in (8, 4, 2, 1) if s <= min(tile.streams, most)]
    widths = [w for w in (2 * VECTOR, VECTOR) if wide and stage.extents[-1] % w == 0] + [1]
    sizes = sorted(((s, w) for w in widths for s in streams), key=lambda each: -each[0] * each[1])
    # Sums of integers are the same in any number of parts, and a thread needs but one.
    tiles = [Form(s, w, axis, 1 if dots else parts) for s, w in sizes]

    def threads(form: Form) -> int:
        return tile.streams // form.streams * _points(stage) // form.width

    for form in tiles:
        if form.streams * form.width >= _WORTH and threads(form) >= tile.busy:
            return form
    narrow = [form for form in tiles if form.width <= VECTOR]
    narrow = [replace(form, parts=parts, shared=parts > 1) for form in narrow]
    return next((form for form in narrow if threads(form) * parts >= tile.busy), narrow[-1])


def _shares_terms(stage: Stage) -> bool:
    """Whether streams read the same weights."""
    reduction = stage.reduction
    return reduction is not None and any(load.access.strides[0] == 0 for load in loads(reduction.operand))


def _points(stage: Stage) -> int:
    """Points of one stream."""
    count = 1
    for extent in stage.extents[1:]:
        count *= extent
    return count


def _longest(stage: Stage) -> int:
    """The longest axis of the reduction, of several the last."""
    outer = len(stage.extents)
    return max(range(outer, len(stage.all_extents)), key=lambda axis: (stage.all_extents[axis], axis))


def _is_dot(stage: Stage) -> bool:
    return stage.reduction is not None and words_in(stage.reduction.operand) is not None


def _parts(extent: int, terms: int) -> int:
    """Parts of a sum over an extent, of so many terms at each place."""
    counts = (_MOST_PARTS, 16, 8, 4, 2)
    return next((p for p in counts if extent % p == 0 and extent * terms >= p * _FEWEST_TERMS), 1)


def _power_of_two(extent: int, most: int) -> int:
    """The largest one that divides an extent, no larger than `most`."""
    return min(extent & -extent, most)


def _side_by_side(terms: Iterable[Load], axis: int) -> bool:
    """Whether neighbours along an axis read neighbours, or the same."""
    strides = [load.access.strides[axis] for load in terms]
    return 1 in strides and all(stride in (0, 1) for stride in strides)


def _in_vectors(terms: Iterable[Load], axis: int) -> bool:
    """Whether everything that moves along an axis can be read as whole vectors along it."""
    return all(is_aligned(load.access, axis) for load in terms if load.access.strides[axis])


def is_aligned(access: Access, axis: int) -> bool:
    """Whether vectors along an axis, at every `VECTOR`th place, begin at multiples of their size."""
    others = [stride for other, stride in enumerate(access.strides) if other != axis]
    alone = access.strides[axis] == 1 and not access.lookups
    return alone and access.offset % VECTOR == 0 and all(stride % VECTOR == 0 for stride in others)


def has_vectors(dtype: str) -> bool:
    """Whether registers hold `VECTOR` neighbours of a dtype as one."""
    return dtype != "bool" and item_size(dtype) <= 4


def _is_whole(extent: int, axis: int) -> bool:
    return axis > 0 and extent % VECTOR == 0


def _stored_whole(stage: Stage, axis: int) -> bool:
    kept = stage.reduction and stage.reduction.kept
    targets = [stage.target] + ([kept.target] if kept else [])
    return all(is_aligned(target, axis) for target in targets)


def _kept_whole(stage: Stage, axis: int) -> bool:
    kept = stage.reduction and stage.reduction.kept
    return kept is None or is_aligned(kept.target, axis)


def vectors(expressions: Iterable[Expression], axis: int) -> list[Load]:
    """Every load that can be read as a whole vector along an axis."""
    parts = (part for expression in expressions for part in walk(expression))
    return [part for part in parts if isinstance(part, Load) and is_aligned(part.access, axis)]
