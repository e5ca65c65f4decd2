"""Wide products whose factors come through shared memory have the numbers of those that are read directly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from backend_programs import (
    Case,
    F,
    Weights,
    differences,
    expected,
    load,
    matrix_vector,
    matrix_vectors,
)
from gpu_steps import kernels_of, stepped
from lowered_models import random_arrays
from quantized_graphs import quantized_graph, recurrent_graph

from millstream.lower import Lowered, lower
from millstream.quantize import FORMATS
from millstream.targets.gpu.compiling import laid_out
from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.items import Items
from millstream.targets.gpu.panels import Panel
from millstream.targets.gpu.placing import of_streams
from millstream_runtime.program import (
    Access,
    Accumulated,
    Buffer,
    Call,
    Constant,
    Expression,
    Load,
    Program,
    Reduction,
    Stage,
    rewrite,
)

#: Each thread reads for itself; then through panels: two tiles, of four and of eight threads along streams.
ALONE = (Tile(1, 256),)
PANELS = ((Tile(64, 128), Tile(1, 128)), (Tile(32, 64), Tile(1, 128)))
#: Several parts of a sum and one, few places, and a number of streams that is no multiple of any tile.
SHAPES = [(128, 128), (256, 64), (128, 8), (64, 256), (384, 2048)]
STREAMS = 70
SUM_BOUND = 1e-5
#: An activation may be rounded the other way, for another last bit of a float before it.
ROUNDING = 2e-2


def results(lowered: Lowered, tiles: tuple[Tile, ...], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs and next states of a step on this host's device."""
    return stepped(lowered.program, kernels_of(lowered.program, lowered.weights, tiles), arrays)


def items_of(lowered: Lowered, tile: Tile) -> list[Items]:
    """What the threads of a block share out of each stage."""
    program = laid_out(lowered.program, lowered.weights).program
    owns = [of_streams(stage, tile.streams, program) for stage in program.stages]
    return [Items(own, tile) for own in owns]


def panels_of(lowered: Lowered, tile: Tile) -> list[tuple[Panel, ...]]:
    """Of each stage."""
    return [items.panels for items in items_of(lowered, tile)]


@pytest.mark.parametrize("tiles", PANELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_products_have_the_bits_of_those_read_directly(
    shape: tuple[int, int], tiles: tuple[Tile, ...]
) -> None:
    case = matrix_vectors([shape], np.random.default_rng(0), STREAMS)
    lowered = Lowered(case.program, case.weights)
    assert all(panels_of(lowered, tiles[0]))
    found = results(lowered, tiles, case.inputs)
    assert differences(case, found, expected(case)[0], SUM_BOUND) == []
    for one, same in zip(results(lowered, ALONE, case.inputs), found, strict=True):
        np.testing.assert_array_equal(one, same)


def test_products_of_a_state_in_float16_do() -> None:
    """A panel of its bits, widened by each thread that reads them."""
    case = matrix_vectors([(128, 128)], np.random.default_rng(0), STREAMS)
    halved = replace(case, program=in_float16(case.program), inputs=(case.inputs[0].astype(np.float16),))
    lowered = Lowered(halved.program, halved.weights)
    assert {panel.load.dtype for found in panels_of(lowered, PANELS[0][0]) for panel in found} == {
        F,
        "float16",
    }
    found = results(lowered, PANELS[0], halved.inputs)
    assert differences(halved, found, expected(halved)[0], SUM_BOUND) == []
    for one, same in zip(results(lowered, ALONE, halved.inputs), found, strict=True):
        np.testing.assert_array_equal(one, same)


def in_float16(program: Program) -> Program:
    """The program with its inputs in float16."""
    inputs = {buffer.name for buffer in program.role("input")}

    def widened(part: Expression) -> Expression | None:
        halved = isinstance(part, Load) and part.access.buffer in inputs
        return Call("cast", (replace(part, dtype="float16"),), F) if halved else None

    def changed(stage: Stage) -> Stage:
        operand = rewrite(stage.reduction.operand, widened)
        return replace(stage, reduction=replace(stage.reduction, operand=operand))

    buffers = (replace(b, dtype="float16") if b.name in inputs else b for b in program.buffers)
    return replace(program, buffers=tuple(buffers), stages=tuple(map(changed, program.stages)))


@pytest.mark.parametrize("tiles", [PANELS[0], (Tile(32, 64),)], ids=["cut up", "whole"])
@pytest.mark.parametrize(("name", "bound"), [("w8", SUM_BOUND), ("w4", SUM_BOUND), ("w8a8", ROUNDING)])
def test_steps_in_integers_do(name: str, bound: float, tiles: tuple[Tile, ...]) -> None:
    """Panels of bytes, and of words of four of them."""
    lowered = lower(quantized_graph(recurrent_graph(128, 128, 128), FORMATS[name]))
    program = lowered.program
    assert any(panels_of(lowered, tiles[0]))
    arrays = random_arrays((*program.role("input"), *program.role("state")), STREAMS, 0)
    case = Case(program, lowered.weights, tuple(arrays[:1]), tuple(arrays[1:]))
    outputs, after = expected(case)
    alone = results(lowered, ALONE, arrays)
    assert differences(case, alone, outputs + after, bound) == []
    for one, same in zip(alone, results(lowered, tiles, arrays), strict=True):
        np.testing.assert_array_equal(one, same)


def mean_and_product(width: int) -> Lowered:
    """mean = mean(few), y = W x: neither waits for the other."""
    rng, weights = np.random.default_rng(0), Weights()
    weights.add("w", (rng.standard_normal(width**2) / width).astype(F))
    weights.add("w.bias", rng.standard_normal(width).astype(F))
    mean = Call("divide", (Accumulated(F), Constant(8.0, F)), F)
    stages = (
        Stage("mean", (), Reduction("sum", (8,), load("few")), mean, Access("mean", 0, ())),
        matrix_vector("w", "x", "y", width, width, False),
    )
    sizes = {"few": ("input", 8), "x": ("input", width), "mean": ("output", 1), "y": ("output", width)}
    buffers = (*(Buffer(name, role, F, size) for name, (role, size) in sizes.items()), *weights.buffers)
    return Lowered(Program(buffers, stages, 0, len(weights.blob)), weights.blob)


def test_panels_lie_where_parts_of_sums_have_met() -> None:
    """In one kernel: a product's panels lie where others have yet to join the parts of a mean."""
    lowered, tile = mean_and_product(128), Tile(32, 64)
    stages = items_of(lowered, tile)
    assert [items.form.shared for items in stages] == [True, False]
    assert [bool(items.panels) for items in stages] == [False, True]
    assert [items.rounds for items in stages] == [1, 1]
    arrays = [np.random.default_rng(1).random((STREAMS, size), F) for size in (8, 128)]
    case = Case(lowered.program, lowered.weights, tuple(arrays), ())
    found = results(lowered, (tile,), arrays)
    assert differences(case, found, expected(case)[0], SUM_BOUND) == []
    for one, same in zip(results(lowered, ALONE, arrays), found, strict=True):
        np.testing.assert_array_equal(one, same)


def test_what_does_not_fill_a_block_is_read_directly() -> None:
    """Places that are no multiple of a block's, sums without whole chunks, streams that share nothing."""
    rng, tile = np.random.default_rng(0), Tile(64, 128)
    whole = (128, 128, tile)
    for rows, columns, read in [whole, (96, 128, tile), (128, 36, tile), (2048, 128, Tile(8, 128))]:
        case = matrix_vectors([(rows, columns)], rng, 1)
        found = panels_of(Lowered(case.program, case.weights), read)
        assert all(found) == ((rows, columns, read) == whole)
        assert any(found) == all(found)


def test_both_places_and_their_barriers_are_needed() -> None:
    case = matrix_vectors([(128, 128)], np.random.default_rng(0), STREAMS)
    ready = kernels_of(case.program, case.weights, PANELS[0])
    right = stepped(case.program, ready, case.inputs)
    barrier = "T.evaluate(T.tvm_storage_sync('shared'))"
    for text, other in ((barrier, "T.evaluate(0)"), ("T.bitwise_xor(", "T.bitwise_and(")):
        assert any(text in function for function in ready.functions)
        functions = tuple(function.replace(text, other) for function in ready.functions)
        wrong = stepped(case.program, replace(ready, functions=functions), case.inputs)
        assert not all(np.array_equal(x, y) for x, y in zip(right, wrong, strict=True))
