"""Pass: keep only what is rounded to float16.

Matches a reduction that keeps float32 of which a map, and nothing else, reads every element once to round it:
a state in float16 that is also read out. The reduction rounds what it keeps and goes on with the element
itself, so that the float32 are never in memory.
"""

from __future__ import annotations

import math
from dataclasses import replace

from millstream.lower.affine import follow, move_access
from millstream.lower.draft import Draft
from millstream_runtime.program import Call, Kept, Load, Stage


def halve_kept(draft: Draft) -> Draft:
    """Let every such reduction round."""
    number = 0
    while number < len(draft.stages):
        halved = _halved(draft, number)
        if halved is None:
            number += 1
        else:
            draft = halved
    return draft


def _halved(draft: Draft, number: int) -> Draft | None:
    """The draft with the map that rounds what stage `number` keeps in it, or None when there is none."""
    stage = draft.stages[number]
    kept = stage.reduction and stage.reduction.kept
    if not stage.reduction or not kept or not draft.is_scratch(kept.target.buffer):
        return None
    uses = draft.uses[kept.target.buffer]
    rounding = uses[0].stage if len(uses) == 1 else number
    rounded = _rounded(kept, stage.all_extents, draft.stages[rounding])
    if rounded is None:
        return None
    stages = list(draft.stages)
    stages[number] = replace(stage, reduction=replace(stage.reduction, kept=rounded))
    del stages[rounding]
    return replace(draft, stages=tuple(stages))


def _rounded(kept: Kept, extents: tuple[int, ...], rounding: Stage) -> Kept | None:
    """What is kept as the map that reads it rounds it; None when it does something else."""
    match rounding:
        case Stage(reduction=None, value=Call("cast", (Load(access=read),), "float16")):
            axes = follow(kept.target, extents, read, rounding.extents)
            # Every element is kept once, so that as many points are the same ones.
            if axes is None or math.prod(extents) != math.prod(rounding.extents):
                return None
            target = move_access(rounding.target, axes, len(extents))
            # Only along the innermost axis are neighbours stored as one vector.
            return Kept(Call("cast", (kept.value,), "float16"), target) if target.strides[-1] == 1 else None
    return None
