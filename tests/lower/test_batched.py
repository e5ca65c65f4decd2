"""A program for several streams gives, bit for bit, what it gives for each of them alone."""

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
from millstream_runtime.batched import batched
from millstream_runtime.program import check

STREAMS = 3


def _blocked(lowered: Lowered) -> Lowered:
    laid = block(lowered.program, lowered.weights, 4)
    return Lowered(laid.program, laid.weights)


@pytest.mark.parametrize("prepare", [lambda lowered: lowered, _blocked], ids=("plain", "blocked"))
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_streams_together_give_what_each_gives_alone(make: type[nn.Module], prepare) -> None:
    lowered = prepare(lowered_model(make))
    together = batched(lowered.program, STREAMS)
    check(together)
    check_dataflow(Draft(together.buffers, together.stages, {}))
    inputs = random_arrays(lowered.program.role("input"), STREAMS, 1)
    states = random_arrays(lowered.program.role("state"), STREAMS, 2)
    outputs, next_states = execute(together, lowered.weights, inputs, states)
    for stream in range(STREAMS):
        want = execute(
            lowered.program, lowered.weights, [x[stream] for x in inputs], [s[stream] for s in states]
        )
        for got, need in zip((*outputs, *next_states), (*want[0], *want[1]), strict=True):
            np.testing.assert_array_equal(got.reshape(STREAMS, -1)[stream], need)


def test_both_programs_read_one_blob_of_weights() -> None:
    program = lowered_model(MODELS[0]).program
    together = batched(program, STREAMS)
    assert together.role("constant") == program.role("constant")
    assert together.weight_bytes == program.weight_bytes
    assert together.scratch_bytes > program.scratch_bytes
