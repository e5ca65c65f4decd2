"""A program while passes work on it: stages, buffers and the arrays of its constants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from millstream_runtime.program import Access, Buffer, Expression, Load, Reduction, Stage, walk


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
            for name in {target.buffer for target, _ in stores(stage)}:
                found[name].append(number)
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
        for part in parts(stage.reduction):
            for load in loads_of(part):
                yield Use(number, load, inner, True)
    for load in loads_of(stage.value):
        yield Use(number, load, stage.extents, False)


def parts(reduction: Reduction) -> list[Expression]:
    """What a reduction computes at each of its points."""
    return [reduction.operand, *([reduction.kept.value] if reduction.kept else [])]


def stores(stage: Stage) -> list[tuple[Access, tuple[int, ...]]]:
    """Where a stage stores, each with the extents that the address is walked over."""
    found = [(stage.target, stage.extents)]
    if stage.reduction and stage.reduction.kept:
        found.append((stage.reduction.kept.target, stage.extents + stage.reduction.extents))
    return found


def addresses(stage: Stage) -> list[Access]:
    """Every address of a stage: of its loads and of its stores."""
    return [use.load.access for use in stage_uses(0, stage)] + [target for target, _ in stores(stage)]


def loads_of(expression: Expression) -> list[Load]:
    """Every load in an expression, lookups' indices included."""
    return [found for found in walk(expression) if isinstance(found, Load)]
