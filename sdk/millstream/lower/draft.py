"""A program while passes work on it: stages, buffers and the arrays of its constants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from millstream_runtime.program import Access, Buffer, Expression, Load, Stage, walk


@dataclass(frozen=True)
class Use:
    """One load: the stage it stands in, and the extents of the axes that its strides belong to."""

    stage: int
    load: Load
    extents: tuple[int, ...]
    in_reduction: bool

    @property
    def count(self) -> int:
        """How many times the load runs in one step."""
        return int(np.prod(self.extents, dtype=np.int64))


@dataclass(frozen=True)
class Draft:
    """Passes take a draft and return a new one; scratch and constants have no offsets yet."""

    buffers: tuple[Buffer, ...]
    stages: tuple[Stage, ...]
    arrays: Mapping[str, np.ndarray]

    @cached_property
    def by_name(self) -> dict[str, Buffer]:
        """Buffers by name."""
        return {buffer.name: buffer for buffer in self.buffers}

    @cached_property
    def writers(self) -> dict[str, list[int]]:
        """Stages that store into each buffer."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, stage in enumerate(self.stages):
            found[stage.target.buffer].append(number)
        return found

    @cached_property
    def uses(self) -> dict[str, list[Use]]:
        """Loads from each buffer."""
        found: dict[str, list[Use]] = defaultdict(list)
        for number, stage in enumerate(self.stages):
            for use in stage_uses(number, stage):
                found[use.load.access.buffer].append(use)
        return found

    def is_scratch(self, name: str) -> bool:
        """True for a buffer that nobody outside the program sees."""
        return self.by_name[name].role == "scratch"


def stage_uses(number: int, stage: Stage) -> Iterator[Use]:
    """Every load of a stage."""
    if stage.reduction:
        inner = stage.extents + stage.reduction.extents
        for load in _loads(stage.reduction.operand):
            yield Use(number, load, inner, True)
    for load in _loads(stage.value):
        yield Use(number, load, stage.extents, False)


def addresses(stage: Stage) -> list[Access]:
    """Every address of a stage: its loads and its target."""
    return [use.load.access for use in stage_uses(0, stage)] + [stage.target]


def _loads(expression: Expression) -> list[Load]:
    return [found for found in walk(expression) if isinstance(found, Load)]
