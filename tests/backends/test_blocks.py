"""Cutting sums into lanes and repacking weights changes no meaning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from backend_programs import Case, F, Weights, differences, expected, matrix_vectors
from hypothesis import given
from hypothesis import strategies as st
from int8_programs import SHAPES, convolution, products

from millstream.targets.blocks import block
from millstream_runtime.lanes import MIN_LANES, chunks, dot_block, is_blocked
from millstream_runtime.program import (
    Access,
    Accumulated,
    AxisIndex,
    Buffer,
    Call,
    Filled,
    Load,
    Program,
    Reduction,
    Stage,
    check,
)
from millstream_runtime.unsigned import shift_dots

Rewrite = Callable[[Program, bytes], Filled]


@given(st.integers(1, 2000), st.sampled_from([4, 8, 16]), st.sampled_from([1, 2, 4, 8]))
def test_chunks_cover_an_axis_once(extent: int, lanes: int, registers: int) -> None:
    points = [
        start + number
        for start, count, width in chunks(extent, lanes, registers)
        for number in range(count * width)
    ]
    assert points == list(range(extent))
    for _, _, width in chunks(extent, lanes, registers):
        assert width < MIN_LANES or (width & (width - 1) == 0 and width <= lanes * registers)


def _grouped() -> Case:
    """A grouped two-axis sum whose value reads the index of each axis, with weights stored inside out."""
    rng = np.random.default_rng(3)
    weights = Weights()
    weights.add("w", rng.standard_normal(3 * 21 * 4 * 2).astype(F))
    # w[k, n, j, g] and x[g, k, j] to y[n, g].
    product = Call(
        "multiply",
        (Load(Access("w", 0, (1, 8, 168, 2)), F), Load(Access("x", 0, (12, 0, 4, 1)), F)),
        F,
    )
    index = Call("add", (AxisIndex(0), Call("multiply", (AxisIndex(1), AxisIndex(1)), "int64")), "int64")
    value = Call("add", (Accumulated(F), Call("cast", (index,), F)), F)
    stage = Stage("g", (2, 21), Reduction("sum", (3, 4), product), value, Access("y", 0, (1, 2)))
    buffers = (Buffer("x", "input", F, 24), Buffer("y", "output", F, 42), *weights.buffers)
    x = rng.standard_normal((2, 24)).astype(F)
    return Case(Program(buffers, (stage,), 0, len(weights.blob)), weights.blob, (x,))


@pytest.mark.parametrize("rewrite", [lambda p, w: block(p, w, 16), lambda p, w: block(p, w, 4)])
@pytest.mark.parametrize(
    "make", [_grouped, lambda: matrix_vectors([(37, 5), (3, 9)], np.random.default_rng(0), 2)]
)
def test_the_meaning_stays(rewrite: Rewrite, make: Callable[[], Case]) -> None:
    case = make()
    made = rewrite(case.program, case.weights)
    check(made.program)
    changed = Case(made.program, made.weights, case.inputs)
    # NumPy may add the same terms in another order once the weights lie in another one.
    assert differences(case, expected(changed)[0], expected(case)[0], 1e-6) == []


def test_blocked_weights_are_read_front_to_back() -> None:
    case = _grouped()
    made = block(case.program, case.weights, 8)
    assert [stage.extents[-1] for stage in made.program.stages] == [16, 4, 1]
    assert [is_blocked(stage) for stage in made.program.stages] == [True, True, False]
    first = made.program.stages[0].reduction
    assert first is not None
    assert isinstance(first.operand, Call)
    weight = first.operand.operands[0]
    assert isinstance(weight, Load)
    # Axes: group, block, lane, then the two summed axes; lanes innermost, the group outermost.
    assert weight.access.strides == (3 * 4 * 16, 0, 1, 4 * 16, 16)


def _shifted(program: Program, weights: bytes) -> Filled:
    made = block(program, weights, 16)
    shifted = shift_dots(made.program, made.weights)
    assert shifted.program != made.program
    return Filled(shifted.program, shifted.weights)


@pytest.mark.parametrize("make", [lambda: products(SHAPES, 2), convolution])
@pytest.mark.parametrize("rewrite", [lambda p, w: block(p, w, 16), lambda p, w: block(p, w, 4), _shifted])
def test_integers_stay_to_the_bit(make: Callable[[], Case], rewrite: Rewrite) -> None:
    case = make()
    made = rewrite(case.program, case.weights)
    check(made.program)
    changed = Case(made.program, made.weights, case.inputs)
    assert differences(case, expected(changed)[0], expected(case)[0], 0) == []


def test_a_dot_product_is_cut_into_lanes_and_groups() -> None:
    case = products([(1, 85, 38)], 1)
    made = block(case.program, case.weights, 16)
    sums = [stage for stage in made.program.stages if stage.reduction]
    assert [stage.extents for stage in sums[:4]] == [(1, 1, 64), (1, 1, 16), (1, 1, 4), (1, 1, 1)]
    assert [dot_block(stage) is not None for stage in sums[:4]] == [True, True, True, False]
    first = dot_block(sums[0])
    assert first is not None
    (shared,), own = first.shared, first.own
    # Axes: row, block, lane, group, within the group; ten groups hold 38 terms.
    assert shared.access.strides == (0, 0, 0, 4, 1)
    assert own.access.strides == (0, 0, 4, 256, 1)
    assert sums[0].reduction is not None
    assert sums[0].reduction.extents == (10, 4)
