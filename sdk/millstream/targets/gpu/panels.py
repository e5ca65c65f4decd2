"""What the threads of a block read of a wide product's factors together, a chunk of its terms at a time.

Of weights, whose neighbours are places, a panel has a row for each term; of inputs, whose neighbours are
terms, a row for each stream of the tile. Panels lie in the memory that the threads of a block share, where
each reads what many others read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.targets.gpu.forms import VECTOR, Form, Tile, has_vectors, is_aligned
from millstream_runtime.lanes import loads
from millstream_runtime.program import Load, Reduction, Stage, item_size

#: Terms of a chunk. Twice as many need registers for as many more vectors on their way.
CHUNK = 2 * VECTOR
#: Threads of a warp side by side along places; and along streams, which read the same weights: with fewer
#: a panel is not worth its way.
NEAR, SHARING = 8, 4
_ALIGNMENT = 16


@dataclass(frozen=True)
class Panel:
    """A chunk of what `load` reads: `rows` of `vectors`, from byte `begin` of the panels on.

    Rows are terms; or the streams of a tile, so many of which belong to one thread as `streams` says. Behind
    these a vector stays free, so that the threads of a warp, each with other streams, read different banks.
    """

    load: Load
    rows: int
    vectors: int
    begin: int
    streams: int = 0

    @property
    def bytes(self) -> int:
        free = self.rows // self.streams if self.streams else 0
        return (self.rows * self.vectors + free) * VECTOR * item_size(self.load.dtype)


def places_of(form: Form, tile: Tile) -> int:
    """Places along the last axis that a block computes at once."""
    return tile.threads * form.streams // tile.streams * form.width


def panels(stage: Stage, form: Form, tile: Tile) -> tuple[Panel, ...]:
    """The panels of a stage; none where its threads better read what they need by themselves."""
    if stage.reduction is None or not _is_wide(stage, stage.reduction, form, tile):
        return ()
    found: list[Panel] = []
    for load in dict.fromkeys(loads(stage.reduction.operand)):
        panel = _panel(load, form, tile, bytes_of(found))
        if panel is None or panel.rows * panel.vectors % tile.threads or tile.threads % panel.vectors:
            return ()
        found.append(panel)
    return tuple(found) if len({bool(panel.streams) for panel in found}) == 2 else ()


def bytes_of(found: Sequence[Panel]) -> int:
    """Bytes of panels that lie one behind the other."""
    return sum(-(-panel.bytes // _ALIGNMENT) * _ALIGNMENT for panel in found)


def _is_wide(stage: Stage, reduction: Reduction, form: Form, tile: Tile) -> bool:
    """Whether a block computes a rectangle of places and all streams, sums of one axis in whole chunks."""
    groups, places = tile.streams // form.streams, places_of(form, tile)
    if reduction.kept or len(stage.extents) != 2 or len(reduction.extents) != 1:
        return False
    if form.shared or form.neighbours or form.width < VECTOR or groups < SHARING:
        return False
    whole = reduction.extents[0] // form.parts % CHUNK == 0 and stage.extents[-1] % places == 0
    return whole and places % (NEAR * form.width) == 0


def _panel(load: Load, form: Form, tile: Tile, begin: int) -> Panel | None:
    """The panel of one load, in vectors along places or along terms."""
    stream, place, term = load.access.strides
    if not has_vectors(load.dtype):
        return None
    if not stream and place == 1 and term and is_aligned(load.access, 1):
        return Panel(load, CHUNK, places_of(form, tile) // VECTOR, begin)
    if stream and not place and term == 1 and is_aligned(load.access, 2):
        return Panel(load, tile.streams, CHUNK // VECTOR, begin, form.streams)
    return None
