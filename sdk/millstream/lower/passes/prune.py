"""Pass: drop what nobody reads, stages first, then buffers."""

from __future__ import annotations

from dataclasses import replace

from millstream.lower.draft import Draft, addresses, stores


def prune(draft: Draft) -> Draft:
    """Drop stages whose scratch result is never loaded, then scratch and constants without any use."""
    while True:
        kept = tuple(
            stage
            for stage in draft.stages
            if any(_is_wanted(draft, target.buffer) for target, _ in stores(stage))
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


def _is_wanted(draft: Draft, name: str) -> bool:
    return bool(draft.uses[name]) or not draft.is_scratch(name)
