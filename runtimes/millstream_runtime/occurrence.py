"""Stages that differ only in where their buffers lie: what they do, and where each of them does it.

Layers of a model repeat, so most stages of a program do the same to other memory. Cut into a shape and its
places, a stage, or several that follow each other, is a function and a call of it: equal shapes are printed
and compiled once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from millstream_runtime.program import Access, Buffer, Load, Stage, item_size, walk
from millstream_runtime.rewriting import readdressed


@dataclass(frozen=True)
class Operand:
    """A buffer as a shape knows it: elements that lie from 0 to `reach` - 1 behind the place given to it."""

    name: str
    dtype: str
    reach: int
    is_constant: bool


@dataclass(frozen=True)
class Shape:
    """What stages do: they stand on buffers that are called after their operands, without an origin. Other
    buffers are the same wherever the shape occurs."""

    stages: tuple[Stage, ...]
    operands: tuple[Operand, ...]


@dataclass(frozen=True)
class Place:
    """An element of a buffer, by number."""

    buffer: str
    element: int


@dataclass(frozen=True)
class Occurrence:
    """Stages of a program: their shape, and for each operand where that begins."""

    shape: Shape
    places: tuple[Place, ...]


def occurrence(stages: Sequence[Stage], buffers: Mapping[str, Buffer], unit: int = 1) -> Occurrence:
    """The stages with these buffers numbered in the order in which they name them; others stay as they are.

    An operand begins at the lowest offset among the stages' addresses of that buffer, or the multiple of
    `unit` bytes below it.
    """
    spans: dict[str, list[tuple[int, int]]] = {}
    for stage in stages:
        for access, extents in accesses(stage):
            if access.buffer in buffers:
                spans.setdefault(access.buffer, []).append(_span(access, extents))
    units = {name: max(1, unit // item_size(buffers[name].dtype)) for name in spans}
    begins = {
        name: min(begin for begin, _ in found) // units[name] * units[name] for name, found in spans.items()
    }
    names = {buffer: f"b{number}" for number, buffer in enumerate(spans)}
    operands = tuple(
        Operand(
            names[name],
            buffers[name].dtype,
            max(end for _, end in found) - begins[name],
            buffers[name].role == "constant",
        )
        for name, found in spans.items()
    )

    def placed(access: Access, extents: tuple[int, ...]) -> Access:
        if access.buffer not in buffers:
            return access
        return replace(access, buffer=names[access.buffer], offset=access.offset - begins[access.buffer])

    places = tuple(Place(name, begin) for name, begin in begins.items())
    alike = tuple(replace(readdressed(stage, placed), origin="") for stage in stages)
    return Occurrence(Shape(alike, operands), places)


def accesses(stage: Stage) -> Iterator[tuple[Access, Sequence[int]]]:
    """Every address with the extents that it is walked over."""
    inner = stage.all_extents
    reduction = stage.reduction
    if reduction:
        roots = [reduction.operand, *([reduction.kept.value] if reduction.kept else [])]
        yield from ((p.access, inner) for root in roots for p in walk(root) if isinstance(p, Load))
        if reduction.kept:
            yield reduction.kept.target, inner
    yield from ((part.access, stage.extents) for part in walk(stage.value) if isinstance(part, Load))
    yield stage.target, stage.extents


def _span(access: Access, extents: Sequence[int]) -> tuple[int, int]:
    """The lowest element that an address reaches, and the one behind the highest."""
    reaches = [stride * (extent - 1) for stride, extent in zip(access.strides, extents, strict=True)]
    reaches += [lookup.stride * (lookup.extent - 1) for lookup in access.lookups]
    low, high = (sum(pick(reach, 0) for reach in reaches) for pick in (min, max))
    return access.offset + low, access.offset + high + 1
