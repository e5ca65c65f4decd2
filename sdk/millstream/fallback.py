"""Targets that a graph is compiled for: one with nodes that it cannot run gives way to its fallback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from millstream import targets
from millstream.gap import Gap, refuse
from millstream.graph import StepGraph
from millstream.targets import Target


@dataclass(frozen=True)
class Detour:
    """A chosen target that has gaps, and the target without gaps that takes its place."""

    chosen: str
    taken: str
    gaps: tuple[Gap, ...]

    def __str__(self) -> str:
        lines = "".join(f"\n  - {gap}" for gap in self.gaps)
        return f"{self.taken} takes the place of {self.chosen}, which cannot run:{lines}"

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report."""
        return asdict(self)


def settle(graph: StepGraph, chosen: Sequence[Target]) -> tuple[tuple[Target, ...], tuple[Detour, ...]]:
    """The targets that the graph is compiled for, each once, and the detours that led there.

    Raises UnsupportedOperators with every gap of every target that has some and whose fallback has some too,
    and those of the fallback.
    """
    refused: dict[str, Sequence[Gap]] = {}
    taken: list[Target] = []
    detours: list[Detour] = []
    for target in chosen:
        gaps = targets.compile_half(target).gaps(graph, target)
        if not gaps:
            taken.append(target)
            continue
        fallback = targets.target(target.fallback) if target.fallback else None
        lacking = targets.compile_half(fallback).gaps(graph, fallback) if fallback else gaps
        if fallback and not lacking:
            taken.append(fallback)
            detours.append(Detour(target.name, fallback.name, tuple(gaps)))
        else:
            refused |= {target.name: gaps, (fallback or target).name: lacking}
    refuse(refused)
    return tuple(dict.fromkeys(taken)), tuple(detours)
