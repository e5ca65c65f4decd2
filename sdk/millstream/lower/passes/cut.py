"""Pass: cut a copy where its source was written by another stage.

Matches a stage that only copies a scratch buffer which several stages filled (a concatenation, such as the
past and the newest frame of a ring) and which is only copied from. Casting to or from float16 is copying too.
Each part of the copy then reads what one stage wrote, so that `inline` takes it from there and the
concatenation disappears.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from millstream.lower.affine import follow
from millstream.lower.draft import Draft
from millstream_runtime.program import Access, Call, Expression, Load, Stage, rewrite


def cut_copies(draft: Draft) -> Draft:
    """Cut every such copy in two; what is left of it is cut in the next round."""
    stages: list[Stage] = []
    for stage in draft.stages:
        stages += _parts(draft, stage)
    return replace(draft, stages=tuple(stages))


def _parts(draft: Draft, stage: Stage) -> list[Stage]:
    load = _copied(stage)
    if load is None:
        return [stage]
    source = load.access
    readers = (draft.stages[use.stage] for use in draft.uses[source.buffer])
    if not draft.is_scratch(source.buffer) or not all(map(_copied, readers)):
        return [stage]
    writers = [draft.stages[number] for number in draft.writers[source.buffer]]
    if len(writers) < 2 or any(_covers(writer, source, stage.extents) for writer in writers):
        return [stage]
    for axis, extent in enumerate(stage.extents):
        for writer in writers:
            count = _covered(writer, source, stage.extents, axis)
            if count:
                return [_part(stage, axis, 0, count), _part(stage, axis, count, extent - count)]
    return [stage]


def _copied(stage: Stage) -> Load | None:
    """What a stage that only copies copies."""
    match stage:
        case Stage(reduction=None, value=Load() as load):
            pass
        case Stage(reduction=None, value=Call("cast", (Load() as load,), dtype)):
            if "float16" not in (dtype, load.dtype):
                return None
        case _:
            return None
    return None if load.access.lookups else load


def _covers(writer: Stage, source: Access, extents: Sequence[int]) -> bool:
    return follow(source, extents, writer.target, writer.extents) is not None


def _covered(writer: Stage, source: Access, extents: Sequence[int], axis: int) -> int:
    """How far along one axis everything comes from one writer."""

    def leaves(count: int) -> bool:
        return not _covers(writer, source, (*extents[:axis], count, *extents[axis + 1 :]))

    return bisect_left(range(1, extents[axis] + 1), True, key=leaves)


def _part(stage: Stage, axis: int, start: int, count: int) -> Stage:
    """The points `start` to `start + count` of one axis."""

    def shifted(access: Access) -> Access:
        return replace(access, offset=access.offset + start * access.strides[axis])

    extents = (*stage.extents[:axis], count, *stage.extents[axis + 1 :])

    def visit(part: Expression) -> Expression | None:
        return replace(part, access=shifted(part.access)) if isinstance(part, Load) else None

    value = rewrite(stage.value, visit)
    return replace(stage, extents=extents, value=value, target=shifted(stage.target))
