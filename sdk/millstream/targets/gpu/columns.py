"""Weights laid out so that neighbouring threads read neighbouring elements.

A rewrite from program to program, checked like any other by executing both. A sum whose points along one axis
can be computed side by side gets that axis last, and its weights are repacked with it innermost:

    y[n] = sum over k of w[n, k] * x[k]    becomes    y[n] = sum over k of v[k, n] * x[k]

The sum of an int8 product is cut into groups of `DOT` besides, which are words to a device (`dots.py`):

    y[n] = sum over j, and k < 4, of int32(v[j, n, k]) * int32(x[4 j + k])
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from millstream.targets.blocks import Packer, grouped, lanes_behind, with_axes
from millstream.targets.constants import with_constants
from millstream.targets.gpu.dots import has_words
from millstream.targets.gpu.placing import array_of
from millstream.targets.padding import dot_axis
from millstream_runtime.lanes import DOT, dot_factors, loads, vector_operand
from millstream_runtime.program import Access, AxisIndex, Expression, Filled, Load, Program, Stage


def columns(program: Program, weights: bytes) -> Filled:
    """The program with every constant in the order in which threads read it."""
    packer = Packer(program, weights)
    stages = tuple(_laid_out(stage, program, packer) for stage in program.stages)
    return with_constants(replace(program, stages=stages), packer.read_by(stages))


def _laid_out(stage: Stage, program: Program, packer: Packer) -> Stage:
    """The stage with its constants in the order in which threads read them."""
    axis = _axis(stage, packer.constants)
    if axis is not None:
        stage = _moved_last(stage, axis)
    words = _word_axis(stage, program, packer.constants)
    if words is not None:
        stage = grouped(stage, words)
    if axis is not None:
        return packer.pack(stage, lanes_behind(stage, 0 if words is None else 1))
    return packer.pack_map(stage) if words is None else packer.pack(stage, range(len(stage.all_extents)))


def _word_axis(stage: Stage, program: Program, constants: Collection[str]) -> int | None:
    """The axis of a sum of int8 products along which activations are whole words for every stream."""
    reduction, axis = stage.reduction, dot_axis(stage, constants)
    if reduction is None or reduction.kept or axis is None or stage.all_extents[axis] % DOT:
        return None
    factors = (load.access for load in dot_factors(stage) or ())
    (activations,) = (access for access in factors if access.buffer not in constants)
    apart = array_of(program.buffer(activations.buffer), program).apart
    return axis if apart % DOT == 0 and has_words(activations, axis) else None


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
