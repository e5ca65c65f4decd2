"""A program for several frames gives, bit for bit, what the step gives frame after frame."""

from __future__ import annotations

import numpy as np
import pytest
from lowered_models import MODELS, lowered_model, random_arrays
from torch import nn

from millstream.lower import Lowered
from millstream.lower.draft import Draft
from millstream.lower.execute import execute
from millstream.lower.soundness import check_dataflow
from millstream.targets.blocks import block
from millstream_runtime.chunked import chunked
from millstream_runtime.program import Load, Program, check, walk
from millstream_runtime.schedule import schedule


def _blocked(lowered: Lowered) -> Lowered:
    laid = block(lowered.program, lowered.weights, 4)
    return Lowered(laid.program, laid.weights)


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("prepare", [lambda lowered: lowered, _blocked], ids=("plain", "blocked"))
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_frames_together_give_what_they_give_one_by_one(make: type[nn.Module], prepare, frames: int) -> None:
    lowered = prepare(lowered_model(make))
    together = chunked(lowered.program, frames)
    check(together)
    check_dataflow(Draft(together.buffers, together.stages, {}))
    inputs = random_arrays(lowered.program.role("input"), frames, 1)
    states = random_arrays(lowered.program.role("state"), 1, 2)
    outputs, next_states = execute(together, lowered.weights, inputs, states)
    for frame in range(frames):
        want, states = execute(lowered.program, lowered.weights, [x[frame] for x in inputs], states)
        for got, need in zip(outputs, want, strict=True):
            np.testing.assert_array_equal(got.reshape(frames, -1)[frame], need)
    for got, need in zip(next_states, states, strict=True):
        np.testing.assert_array_equal(got, need)


def test_both_programs_read_one_blob_of_weights() -> None:
    program = lowered_model(MODELS[0]).program
    together = chunked(program, 4)
    assert together.role("constant") == program.role("constant")
    assert together.weight_bytes == program.weight_bytes


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_groups_hold_every_stage_once_and_in_an_order_that_keeps_dependencies(make: type[nn.Module]) -> None:
    program = lowered_model(make).program
    groups = schedule(program)
    assert sorted(stage for group in groups for stage in group.stages) == list(range(len(program.stages)))
    assert all(list(group.stages) == sorted(group.stages) for group in groups)


def _products(program: Program, recurrent: bool) -> int:
    """Multiplications by weights in the recurrences, or outside them."""
    constants = {buffer.name for buffer in program.role("constant")}
    count = 0
    for group in schedule(program):
        for number in group.stages:
            stage = program.stages[number]
            if group.is_recurrent == recurrent and stage.reduction:
                operand = stage.reduction.operand
                reads = {p.access.buffer for p in walk(operand) if isinstance(p, Load)}
                if reads & constants:
                    count += int(np.prod(stage.extents + stage.reduction.extents))
    return count


def test_only_the_recurrence_itself_goes_frame_by_frame() -> None:
    """Of the trained LMUFormer only the memory matrix is multiplied by a state: 64 x 64 of 50,000 weights."""
    program = lowered_model(MODELS[-1]).program
    assert _products(program, recurrent=True) <= 0.1 * _products(program, recurrent=False)
