"""Weights of few bits share bytes, and every backend reads the same integers out of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from backend_programs import Case, F, Opener, Weights, differences, expected, run
from int8_programs import SHAPES, Range, convolution, products

from millstream.targets.blocks import block
from millstream.targets.packed_weights import pack_weights
from millstream_runtime.lanes import dot_block
from millstream_runtime.packing import bits_for, pack, parts_of, unpack
from millstream_runtime.program import (
    Access,
    Accumulated,
    Buffer,
    Call,
    Filled,
    Load,
    Program,
    Reduction,
    Stage,
    check,
    item_size,
)
from millstream_runtime.unsigned import shift_dots

INT4, TERNARY = (-8, 7), (-1, 1)
Rewrite = Callable[[Program, bytes], Filled]


@pytest.mark.parametrize("bits", [2, 4])
def test_every_weight_survives_packing(bits: int) -> None:
    half, parts = 2 ** (bits - 1), parts_of(bits)
    values = np.random.default_rng(0).integers(-half, half, (parts, 3, 37)).astype(np.int8)
    packed = pack(values, bits)
    assert packed.shape == (3, 37)
    np.testing.assert_array_equal(unpack(packed, bits), values)


@pytest.mark.parametrize(
    ("values", "bits"), [([0], 2), ([-2, 1], 2), ([2], 4), ([-3], 4), ([-8, 7], 4), ([8], 8), ([-9], 8)]
)
def test_the_fewest_bits_that_hold(values: list[int], bits: int) -> None:
    assert bits_for(np.array(values, np.int8)) == bits


def _blocked(program: Program, weights: bytes) -> Filled:
    made = block(program, weights, 16)
    return pack_weights(made.program, made.weights)


def _shifted(program: Program, weights: bytes) -> Filled:
    packed = _blocked(program, weights)
    made = shift_dots(packed.program, packed.weights)
    return Filled(made.program, made.weights)


@pytest.mark.parametrize("held", [INT4, TERNARY, (-8, 8)])
@pytest.mark.parametrize("rewrite", [pack_weights, _blocked, _shifted])
@pytest.mark.parametrize("make", [lambda held: products(SHAPES, 2, held), convolution])
def test_integers_stay_to_the_bit(make: Callable[[Range], Case], rewrite: Rewrite, held: Range) -> None:
    case = make(held)
    made = rewrite(case.program, case.weights)
    check(made.program)
    changed = Case(made.program, made.weights, case.inputs)
    assert differences(case, expected(changed)[0], expected(case)[0], 0) == []


@pytest.mark.parametrize("held", [INT4, TERNARY])
@pytest.mark.parametrize(
    "make", [lambda held: products(SHAPES, 2, held), convolution], ids=["products", "convolution"]
)
def test_every_backend_reads_the_same_integers(
    opener: Opener, make: Callable[[Range], Case], held: Range
) -> None:
    case = make(held)
    assert differences(case, run(opener, case)[0], expected(case)[0], 0) == []


def _weight_only(rows: int, terms: int, held: Range) -> Case:
    """y[n] = sum over k of x[k] float(w[n, k]) in float32."""
    rng = np.random.default_rng(2)
    weights = Weights()
    weights.add("w", rng.integers(held[0], held[1] + 1, rows * terms).astype(np.int8))
    weight = Call("cast", (Load(Access("w", 0, (terms, 1)), "int8"),), F)
    product = Call("multiply", (Load(Access("x", 0, (0, 1)), F), weight), F)
    stage = Stage("w", (rows,), Reduction("sum", (terms,), product), Accumulated(F), Access("y", 0, (1,)))
    buffers = (Buffer("x", "input", F, terms), Buffer("y", "output", F, rows), *weights.buffers)
    x = rng.standard_normal((3, terms)).astype(F)
    return Case(Program(buffers, (stage,), 0, len(weights.blob)), weights.blob, (x,))


@pytest.mark.parametrize("held", [INT4, TERNARY])
@pytest.mark.parametrize(("rows", "terms"), [(70, 64), (37, 36), (3, 128), (64, 37)])
def test_float_sums_of_packed_weights(opener: Opener, rows: int, terms: int, held: Range) -> None:
    case = _weight_only(rows, terms, held)
    # The terms are added in another order: a few units in the last place of a sum of up to 128.
    assert differences(case, run(opener, case)[0], expected(case)[0], 1e-5) == []


def _constant_bytes(program: Program) -> int:
    return sum(b.size * item_size(b.dtype) for b in program.role("constant"))


@pytest.mark.parametrize(("held", "smaller"), [(INT4, 2), (TERNARY, 4), ((-8, 8), 1)])
def test_bytes_of_weights(held: Range, smaller: int) -> None:
    case = products([(1, 64, 128), (3, 128, 64)], 1, held)
    before = _constant_bytes(case.program)
    for made in (pack_weights(case.program, case.weights), _blocked(case.program, case.weights)):
        assert _constant_bytes(made.program) * smaller == before


def test_packed_sums_are_still_dot_products() -> None:
    case = products([(1, 64, 38)], 1, INT4)
    made = _blocked(case.program, case.weights)
    dots = [dot_block(stage) for stage in made.program.stages if stage.reduction]
    # Ten groups of four would hold 38 terms, and both halves need as many.
    assert [dot and (dot.bits, len(dot.shared)) for dot in dots] == [(4, 2), (4, 2)]


def test_weights_that_two_stages_read_stay_as_they_are() -> None:
    case = _weight_only(8, 16, INT4)
    (stage,) = case.program.stages
    twice = Program(
        (*case.program.buffers, Buffer("z", "output", F, 8)),
        (stage, Stage("z", (8,), stage.reduction, stage.value, Access("z", 0, (1,)))),
        0,
        case.program.weight_bytes,
    )
    assert pack_weights(twice, case.weights).program.stages == twice.stages
