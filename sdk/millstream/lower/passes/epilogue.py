"""Pass: finish a reduction where it is made.

Matches a reduction into a scratch buffer that one map alone reads, element for element; the map's
expression becomes the reduction's value, and the buffer between them disappears.
"""

from __future__ import annotations

import math
from dataclasses import replace

from millstream.lower.affine import Affine, follow, move, move_access
from millstream.lower.draft import Draft
from millstream_runtime.program import Expression, Load, Stage, rewrite


def merge_epilogues(draft: Draft) -> Draft:
    """Merge every reduction with the one map that finishes it."""
    stages: list[Stage | None] = list(draft.stages)
    for number, stage in enumerate(draft.stages):
        if stage.reduction is None:
            continue
        consumer = _only_consumer(draft, number)
        if consumer is None or stages[consumer] is not draft.stages[consumer]:
            continue
        if stages[number] is not stage:
            continue
        merged = _merged(draft, stage, draft.stages[consumer])
        if merged is not None:
            stages[number], stages[consumer] = None, merged
    return replace(draft, stages=tuple(stage for stage in stages if stage is not None))


def _only_consumer(draft: Draft, number: int) -> int | None:
    name = draft.stages[number].target.buffer
    if not draft.is_scratch(name) or draft.writers[name] != [number]:
        return None
    readers = {use.stage for use in draft.uses[name]}
    accesses = {use.load.access for use in draft.uses[name]}
    if len(readers) != 1 or len(accesses) != 1:
        return None
    reader = readers.pop()
    return None if draft.stages[reader].reduction else reader


def _merged(draft: Draft, producer: Stage, consumer: Stage) -> Stage | None:
    name = producer.target.buffer
    load = next(use.load for use in draft.uses[name])
    if draft.by_name[name].size != _points(consumer) or _points(producer) != _points(consumer):
        return None
    axes = follow(producer.target, producer.extents, load.access, consumer.extents)
    if axes is None:
        return None
    return _with_value(producer, consumer, axes)


def _with_value(producer: Stage, consumer: Stage, axes: tuple[Affine, ...]) -> Stage:
    name, rank = producer.target.buffer, len(producer.extents)
    moved = move(consumer.value, axes, rank)

    def visit(expression: Expression) -> Expression | None:
        if isinstance(expression, Load) and expression.access.buffer == name:
            return producer.value
        return None

    return replace(
        producer,
        origin=_joined(producer.origin, consumer.origin),
        value=rewrite(moved, visit),
        target=move_access(consumer.target, axes, rank),
    )


def _points(stage: Stage) -> int:
    return math.prod(stage.extents)


def _joined(first: str, second: str) -> str:
    return first if second in first.split(" + ") else f"{first} + {second}"
