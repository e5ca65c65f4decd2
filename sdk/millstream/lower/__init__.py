"""Lowering: a step graph becomes one program of fused loop nests over static buffers."""

from __future__ import annotations

from dataclasses import dataclass

from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.lower.draft import Draft
from millstream.lower.memory import assign
from millstream.lower.passes import FINAL, FUSION
from millstream.lower.translate import translate
from millstream_runtime.program import Program, check

_MAX_ROUNDS = 50


@dataclass(frozen=True)
class Lowered:
    """One stream's step as a program, and the bytes of its constants."""

    program: Program
    weights: bytes


def gaps(graph: StepGraph) -> list[Gap]:
    """Every node that the lowering cannot express; empty when `lower` will succeed."""
    return list(translate(graph).gaps)


def lower(graph: StepGraph) -> Lowered:
    """Lower a graph without gaps. Raises PlanInvalid when a pass made an unsound program."""
    draft = fuse(translate(graph).draft)
    for finish in FINAL:
        draft = finish(draft)
    program, weights = assign(draft)
    check(program)
    return Lowered(program, weights)


def fuse(draft: Draft) -> Draft:
    """Run the fusion passes until a whole round changes nothing."""
    for _ in range(_MAX_ROUNDS):
        before = draft.stages
        for run in FUSION:
            draft = run(draft)
        if draft.stages == before:
            break
    return draft
