"""Pass: drop what nobody reads, stages first, then buffers."""

from __future__ import annotations

from dataclasses import replace

from millstream.lower.draft import Draft, addresses


def prune(draft: Draft) -> Draft:
    """Drop stages whose scratch result is never loaded, then scratch and constants without any use."""
    while True:
        kept = tuple(
            stage
            for stage in draft.stages
            if draft.uses[stage.target.buffer] or not draft.is_scratch(stage.target.buffer)
        )
        if len(kept) == len(draft.stages):
            break
        draft = replace(draft, stages=kept)
    used = {access.buffer for stage in draft.stages for access in addresses(stage)}
    buffers = tuple(b for b in draft.buffers if b.name in used or b.role not in ("scratch", "constant"))
    names = {buffer.name for buffer in buffers}
    return replace(
        draft,
        buffers=buffers,
        arrays={name: array for name, array in draft.arrays.items() if name in names},
    )
