"""A ring that is read by a depthwise convolution and moved on costs no concatenation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from millstream.lower import fuse
from millstream.lower.draft import Draft
from millstream.lower.execute import execute
from millstream.lower.memory import assign
from millstream.lower.passes.cut import cut_copies
from millstream.lower.passes.prune import prune
from millstream.lower.passes.unroll import TERMS, unroll_sums
from millstream.lower.soundness import check_dataflow
from millstream_runtime.program import (
    Access,
    Accumulated,
    Buffer,
    Call,
    Load,
    Reduction,
    Stage,
    check,
)

F = "float32"
CHANNELS = 5
#: At most six float32 sums of products of order one, in another order.
BOUND = 1e-6


def _load(name: str, offset: int, *strides: int) -> Load:
    return Load(Access(name, offset, strides), F)


def _ring(taps: int) -> Draft:
    """window = past + newest; y = 2 * (window . kernel); the next past is the window without its oldest."""
    past = taps - 1
    product = Call("multiply", (_load("window", 0, taps, 1), _load("kernel", 0, taps, 1)), F)
    doubled = Call("add", (Accumulated(F), Accumulated(F)), F)
    stages = (
        Stage("past", (CHANNELS, past), None, _load("ring", 0, past, 1), Access("window", 0, (taps, 1))),
        Stage("newest", (CHANNELS,), None, _load("x", 0, 1), Access("window", past, (taps,))),
        Stage("convolve", (CHANNELS,), Reduction("sum", (taps,), product), doubled, Access("y", 0, (1,))),
        Stage("move", (CHANNELS, past), None, _load("window", 1, taps, 1), Access("next", 0, (past, 1))),
    )
    buffers = (
        Buffer("x", "input", F, CHANNELS),
        Buffer("ring", "state", F, CHANNELS * past),
        Buffer("y", "output", F, CHANNELS),
        Buffer("next", "next_state", F, CHANNELS * past),
        Buffer("kernel", "constant", F, CHANNELS * taps),
        Buffer("window", "scratch", F, CHANNELS * taps),
    )
    kernel = np.random.default_rng(0).standard_normal(CHANNELS * taps).astype(F)
    return Draft(buffers, stages, {"kernel": kernel})


def _agrees(draft: Draft, taps: int) -> None:
    """The draft is sound and gives what NumPy does."""
    check_dataflow(draft)
    program, weights = assign(prune(draft))
    check(program)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(CHANNELS).astype(F)
    ring = rng.standard_normal((CHANNELS, taps - 1)).astype(F)
    (y,), (moved,) = execute(program, weights, [x], [ring])
    window = np.concatenate((ring, x[:, None]), 1)
    want = 2 * (window * draft.arrays["kernel"].reshape(CHANNELS, taps)).sum(1)
    np.testing.assert_allclose(y, want, rtol=BOUND, atol=BOUND)
    np.testing.assert_array_equal(moved.reshape(ring.shape), window[:, 1:])


def _reads(draft: Draft, name: str) -> int:
    return len(draft.uses[name])


def test_the_window_disappears() -> None:
    fused = fuse(_ring(TERMS))
    _agrees(fused, TERMS)
    assert "window" not in {buffer.name for buffer in fused.buffers}
    assert all(stage.reduction is None for stage in fused.stages)


def test_a_sum_of_more_terms_stays_a_loop_and_keeps_the_window() -> None:
    taps = TERMS + 1
    draft = _ring(taps)
    assert unroll_sums(draft).stages == draft.stages
    # The convolution still reads the window, so that cutting the copy would only add stages.
    assert cut_copies(draft).stages == draft.stages
    _agrees(fuse(draft), taps)


def test_each_pass_alone_keeps_the_numbers() -> None:
    draft = _ring(TERMS)
    unrolled = unroll_sums(draft)
    assert len(unrolled.stages) == len(draft.stages) + 1
    _agrees(unrolled, TERMS)
    only_moved = replace(draft, stages=tuple(s for s in draft.stages if s.origin != "convolve"))
    cut = cut_copies(only_moved)
    assert [stage.extents for stage in cut.stages if stage.origin == "move"] == [
        (CHANNELS, TERMS - 2),
        (CHANNELS, 1),
    ]
    _agrees(replace(cut, stages=(*cut.stages, draft.stages[2])), TERMS)


def test_a_sum_over_a_buffer_of_one_writer_is_left_alone() -> None:
    draft = _ring(TERMS)
    whole = Stage("all", (CHANNELS * TERMS,), None, _load("kernel", 0, 1), Access("window", 0, (1,)))
    single = replace(draft, stages=(whole, draft.stages[2]))
    assert unroll_sums(single).stages == single.stages
    assert _reads(single, "window") == 1
