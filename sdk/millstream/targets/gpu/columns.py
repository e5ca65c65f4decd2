"""Weights laid out so that neighbouring threads read neighbouring elements.

A rewrite from program to program, checked like any other by executing both. A sum whose points along one axis
can be computed side by side gets that axis last, and its weights are repacked with it innermost:

    y[n] = sum over k of w[n, k] * x[k]    becomes    y[n] = sum over k of v[k, n] * x[k]
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from millstream.targets.blocks import Packer, lanes_behind, with_axes
from millstream.targets.constants import with_constants
from millstream_runtime.lanes import dot_factors, loads, vector_operand
from millstream_runtime.program import Access, AxisIndex, Expression, Filled, Load, Program, Stage


def columns(program: Program, weights: bytes) -> Filled:
    """The program with every constant in the order in which threads read it."""
    packer = Packer(program, weights)
    stages = []
    for stage in program.stages:
        axis = _axis(stage, packer.constants)
        if axis is None:
            stages.append(packer.pack_map(stage))
            continue
        stage = _moved_last(stage, axis)
        stages.append(packer.pack(stage, lanes_behind(stage)))
    return with_constants(replace(program, stages=tuple(stages)), packer.read_by(stages))


def _axis(stage: Stage, constants: Collection[str]) -> int | None:
    """The longest axis of a sum on which weights can be repacked and all else stands still or is
    contiguous."""
    if stage.reduction and stage.reduction.kept:
        return None
    terms = _terms(stage)

    def fits(axis: int) -> bool:
        weights = [load.access.buffer in constants and load.access.strides[axis] != 0 for load in terms]
        return any(weights) and all(
            weight or load.access.strides[axis] in (0, 1) for weight, load in zip(weights, terms, strict=True)
        )

    axes = [axis for axis, extent in enumerate(stage.extents) if extent > 1 and fits(axis)]
    return max(axes, key=lambda axis: stage.extents[axis], default=None)


def _terms(stage: Stage) -> list[Load]:
    """What a sum of float32, or of products of int8, reads."""
    operand = vector_operand(stage)
    return loads(operand) if operand else list(dot_factors(stage) or ())


def _moved_last(stage: Stage, axis: int) -> Stage:
    """The stage with one of its own axes behind the others."""
    outer = len(stage.extents)
    order = [other for other in range(outer) if other != axis] + [axis]
    renamed = {old: new for new, old in enumerate(order)}

    def place(access: Access) -> Access:
        strides = tuple(access.strides[old] for old in order) + access.strides[outer:]
        return replace(access, strides=strides)

    def index(old: AxisIndex) -> Expression:
        return AxisIndex(renamed.get(old.axis, old.axis))

    return with_axes(stage, tuple(stage.extents[old] for old in order), place, index)
