"""The two rules of a program that need the whole of it: stored once, and stored before it is loaded.

Slow and obvious: every address of every stage is enumerated. Tests run it after each pass.
"""

from __future__ import annotations

import math

import numpy as np

from millstream.errors import ProgramInvalid
from millstream.lower.draft import Draft, Use, stage_uses, stores
from millstream_runtime.program import Access

_COMPUTED = ("scratch", "output", "next_state")


def check_dataflow(draft: Draft) -> None:
    """Raise ProgramInvalid when an element is stored twice, loaded before it is stored, or never stored."""
    stored = {b.name: np.zeros(b.size, bool) for b in draft.buffers if b.role in _COMPUTED}
    for number, stage in enumerate(draft.stages):
        for use in stage_uses(number, stage):
            _check_loads(stored, use, stage.origin)
        for target, extents in stores(stage):
            places = _addresses(target, extents)
            written = stored[target.buffer]
            if written[places].any() or np.unique(places).size != math.prod(extents):
                raise ProgramInvalid(f"stage {number} stores twice into {target.buffer}", where=stage.origin)
            written[places] = True
    for buffer in draft.buffers:
        if buffer.role in ("output", "next_state") and not stored[buffer.name].all():
            raise ProgramInvalid(f"{buffer.role} {buffer.name} is not stored completely")


def _check_loads(stored: dict[str, np.ndarray], use: Use, origin: str) -> None:
    name = use.load.access.buffer
    if name not in stored:
        return
    written = stored[name]
    if use.load.access.lookups:
        ready = written.all()
    else:
        ready = written[_addresses(use.load.access, use.extents)].all()
    if not ready:
        raise ProgramInvalid(f"stage {use.stage} loads from {name} before it is stored", where=origin)


def _addresses(access: Access, extents: tuple[int, ...]) -> np.ndarray:
    """Every address an access visits, axes that do not move it left out."""
    places = np.array([access.offset])
    for stride, extent in zip(access.strides, extents, strict=True):
        if stride:
            places = (places[:, None] + np.arange(extent) * stride).reshape(-1)
    return places
