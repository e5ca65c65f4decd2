"""Exact products of int8 on a device, four at a time: the numbers of the reference in every form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from backend_programs import Case, contract_of, differences, expected, run
from gpu_steps import kernels_of, step_of
from int8_programs import convolution, products, recurrence
from quantized_graphs import quantized_graph, recurrent_graph

from millstream.lower import lower
from millstream.quantize import FORMATS
from millstream.targets.gpu import columns
from millstream.targets.gpu.compiling import Kernels, laid_out
from millstream.targets.gpu.dots import in_words
from millstream.targets.gpu.forms import Form, Tile
from millstream.targets.gpu.items import Items
from millstream.targets.gpu.placing import of_streams
from millstream_runtime.core import Core
from millstream_runtime.nonfinite import propagate
from millstream_runtime.pool import Pool
from millstream_runtime.program import Access, Program
from millstream_runtime.rewriting import readdressed

#: One stream, eight and 64, whole and cut up.
TILES = (
    (Tile(1, 256),),
    (Tile(8, 128),),
    (Tile(1, 64), Tile(1, 512)),
    (Tile(64, 128), Tile(1, 256)),
)
#: (rows, lanes, terms): whole words, and chunks of 16 and of 32 terms and what is none; sums in parts.
SHAPES = [(1, 1, 40), (1, 3, 128), (1, 4, 4), (1, 37, 36), (1, 64, 12), (3, 40, 48), (7, 64, 32)]
SHAPES += [(2, 1, 1024), (1, 512, 128), (1, 128, 256), (1, 8, 1024)]
ODD_SHAPES = [(1, 1, 37), (1, 64, 3), (1, 130, 130), (3, 40, 47), (1, 128, 257)]
#: A rounding of an activation that falls the other way, for another last bit of a float before it.
ROUNDING = 2e-2


def dots(kernels: Kernels) -> int:
    """How often four products are written as one."""
    return sum(text.count("'dp4a'") for text in kernels.functions)


def wrong(case: Case, tiles: tuple[Tile, ...]) -> list[str]:
    """The sums that are not the reference's to the bit."""
    got, want = run(lambda *filled: step_of(kernels_of(*filled, tiles)), case), expected(case)
    return differences(case, got[0] + got[1], want[0] + want[1], 0)


def forms(case: Case, tile: Tile) -> list[Form]:
    """Those of the stages that are computed in words."""
    program = laid_out(case.program, case.weights).program
    stages = [of_streams(stage, tile.streams, program) for stage in program.stages]
    return [Items(stage, tile).form for stage in stages if in_words(stage) != stage]


@pytest.mark.parametrize("streams", [1, 3, 67])
@pytest.mark.parametrize("tiles", TILES)
def test_sums_of_whole_words_are_exact(tiles: tuple[Tile, ...], streams: int) -> None:
    case = products(SHAPES, streams)
    assert len(forms(case, tiles[0])) == len(case.program.stages)
    assert wrong(case, tiles) == []


def test_these_sizes_take_every_form() -> None:
    case = products(SHAPES, 1)
    found = [form for tiles in TILES for tile in tiles for form in forms(case, tile)]
    assert {form.shared for form in found if not form.neighbours} == {True, False}
    assert any(form.neighbours and form.whole for form in found)
    assert any(form.neighbours and not form.whole for form in found)
    assert (8, 8) in {(form.streams, form.width) for form in found}
    # One thread needs no parts of an exact sum.
    assert all(form.parts == 1 or form.shared for form in found)


@pytest.mark.parametrize("tiles", TILES)
def test_sums_that_are_no_whole_words_are_exact_one_by_one(tiles: tuple[Tile, ...]) -> None:
    case = products(ODD_SHAPES, 3)
    assert forms(case, tiles[0]) == []
    assert outermost(case) == [extent for _, _, extent in ODD_SHAPES for _ in range(2)]
    assert wrong(case, tiles) == []


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize(
    ("rows", "terms", "offset", "behind", "words"),
    [
        *[(1, 64, 0, 0, True), (1, 64, 4, 0, True), (3, 64, 4, 8, True)],
        *[(1, 64, 2, 2, False), (1, 64, 0, 2, False), (2, 64, 0, 2, False), (1, 38, 0, 2, False)],
    ],
)
def test_activations_are_words_where_they_begin_at_words(
    rows: int, terms: int, offset: int, behind: int, words: bool, tiles: tuple[Tile, ...]
) -> None:
    """Rows may be no whole words apart, and so may streams."""
    case = part_of_rows(rows, terms, offset, behind)
    assert len(forms(case, tiles[0])) == (2 if words else 0)
    assert outermost(case) == [terms // 4 if words else terms] * 2
    assert wrong(case, tiles) == []


def outermost(case: Case) -> list[int]:
    """The first extents of all sums as kernels take them: groups, where they are cut into such."""
    stages = laid_out(case.program, case.weights).program.stages
    return [stage.reduction.extents[0] for stage in stages if stage.reduction]


def part_of_rows(rows: int, terms: int, offset: int, behind: int) -> Case:
    """Products with each row of an input from `offset` on, `behind` bytes before its end."""
    case = products([(rows, 40, terms)], 5)
    size = offset + terms + behind
    apart = size if rows > 1 else 0
    x = np.random.default_rng(1).integers(-128, 128, (5, rows, size)).astype(np.int8)
    x[:, :, offset : offset + terms] = case.inputs[0].reshape(5, rows, terms)

    def moved(access: Access, extents: tuple[int, ...]) -> Access:
        return replace(access, offset=offset, strides=(apart, 0, 1)) if access.buffer == "x0" else access

    buffers = [replace(b, size=rows * size) if b.name == "x0" else b for b in case.program.buffers]
    stages = tuple(readdressed(stage, moved) for stage in case.program.stages)
    program = replace(case.program, buffers=tuple(buffers), stages=stages)
    return replace(case, program=program, inputs=(x.reshape(5, -1),))


@pytest.mark.parametrize("tiles", TILES)
def test_the_largest_products_are_exact(tiles: tuple[Tile, ...]) -> None:
    case = products([(1, 64, 1024), (1, 1, 128)], 3, (-128, -128))
    case = replace(case, inputs=tuple(np.full_like(x, -128) for x in case.inputs))
    assert {int(y.max()) for y in expected(case)[0]} == {1024 << 14, 128 << 14}
    assert wrong(case, tiles) == []


@pytest.mark.parametrize("tiles", TILES)
def test_windows_and_states_are_exact(tiles: tuple[Tile, ...]) -> None:
    for case, count in ((convolution(), 0), (recurrence(), 0), (recurrence(40, 64, 32), 3)):
        assert len(forms(case, tiles[0])) == count
        assert wrong(case, tiles) == []


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("format", ["w8a8", "w8a8-static", "w4a8"])
def test_a_model_in_a_pool_has_the_bits_of_single_products(
    format: str, tiles: tuple[Tile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered = lower(quantized_graph(recurrent_graph(40, 64, 32), FORMATS[format]))
    frames = np.random.default_rng(0).standard_normal((3, 9, 40)).astype(np.float32)
    fours = kernels_of(lowered.program, lowered.weights, tiles)
    monkeypatch.setattr(columns, "_word_axis", lambda *stage: None)
    single = kernels_of(lowered.program, lowered.weights, tiles)
    assert dots(fours)
    assert not dots(single)
    got, same = (outputs(lowered.program, kernels, frames) for kernels in (fours, single))
    np.testing.assert_array_equal(got, same)
    states = [np.zeros((9, 64), np.float32)]
    for frame, output in zip(frames, got, strict=True):
        case = Case(lowered.program, lowered.weights, (frame,), tuple(states))
        want, states = expected(case)
        assert differences(case, [output], want, ROUNDING) == []


def outputs(program: Program, kernels: Kernels, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a pool gives for frames (streams, width), one after the other."""
    contract = contract_of(program)
    pool = Pool(Core(contract.spec, step_of(kernels), contract.initial, "test"), len(frames[0]), propagate)
    return [np.array(pool.step(frame)) for frame in frames]
