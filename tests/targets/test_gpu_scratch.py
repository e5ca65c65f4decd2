"""Scratch of a step that is cut up: what a kernel keeps, and what it must leave in the device's memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from backend_programs import Case, F, Weights, differences, expected, load, matrix_vector
from gpu_steps import kernels_of, stepped
from lowered_models import random_arrays
from quantized_graphs import recurrent_graph

from millstream.lower import Lowered, lower
from millstream.quantize.states.storages import INT8
from millstream.quantize.states.writing import narrowed
from millstream.targets.gpu import pieces
from millstream.targets.gpu.compiling import laid_out
from millstream.targets.gpu.cutting import cut_up, cut_up_frames
from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.nearing import near
from millstream.targets.gpu.pieces import Piece, Pieces
from millstream.targets.gpu.placing import scratch_bytes
from millstream.targets.gpu.prefill import unroll
from millstream_runtime.arena import place_scratch
from millstream_runtime.backends.gpu import layout
from millstream_runtime.program import Access, Buffer, Call, Program, Stage, check, loaded, stored_into

WIDTH = 128
#: Of the products, and of what lies between them: a stream alone, and several.
TILES = ((Tile(16, 128), Tile(1, 256)), (Tile(16, 128), Tile(4, 64)))
#: Room for all scratch of these steps; and for none.
MUCH, NONE = 1 << 20, 0
SUM_BOUND = 1e-5


def layered(layers: int) -> Lowered:
    """A product, then for x in each layer W (x + |x| - x * x), the bracket in three stages."""
    rng, weights, stages = np.random.default_rng(0), Weights(), []
    scratch: list[str] = []
    source = "x"

    def product(target: str) -> None:
        weights.add(f"{target}.w", (rng.standard_normal(WIDTH**2) / WIDTH).astype(F))
        weights.add(f"{target}.w.bias", rng.standard_normal(WIDTH).astype(F))
        stages.append(matrix_vector(f"{target}.w", source, target, WIDTH, WIDTH, False))

    for layer in range(layers):
        # Numbers that names are not sorted by, as the lowering gives them.
        drive, size, square, mixed = (f"s{4 * layer + number}" for number in range(4))
        product(drive)
        value, total = load(drive), Call("add", (load(drive), load(size)), F)
        terms = {
            size: Call("absolute", (value,), F),
            square: Call("multiply", (value, value), F),
            mixed: Call("subtract", (total, load(square)), F),
        }
        stages += [Stage("", (WIDTH,), None, term, Access(name, 0, (1,))) for name, term in terms.items()]
        scratch += [drive, *terms]
        source = mixed
    product("y")
    roles = {"x": "input", "y": "output", **dict.fromkeys(scratch, "scratch")}
    buffers = (*(Buffer(name, role, F, WIDTH) for name, role in roles.items()), *weights.buffers)
    program = place_scratch(Program(buffers, tuple(stages), 0, len(weights.blob)))
    check(program)
    return Lowered(program, weights.blob)


def step_of_integers() -> Lowered:
    """A recurrence whose state is in int8, between products large enough for kernels of their own."""
    return lower(narrowed(recurrent_graph(WIDTH, WIDTH, WIDTH), {"state": INT8}))


def cut(lowered: Lowered, shared: int) -> Pieces:
    """The pieces of a step."""
    return cut_up(laid_out(lowered.program, lowered.weights).program, *TILES[0], shared)


def kept_by(pieces: Pieces) -> list[list[str]]:
    """By piece the names of what it keeps."""
    return [sorted(buffer.name for buffer in piece.kept.buffers) for piece in pieces.pieces]


def layout_of(lowered: Lowered, tiles: tuple[Tile, ...], shared: int) -> layout.Layout:
    return layout.load(kernels_of(lowered.program, lowered.weights, tiles, shared).layout)


def results(
    lowered: Lowered, tiles: tuple[Tile, ...], shared: int, arrays: list[np.ndarray]
) -> list[np.ndarray]:
    """Outputs and next states of a step on this host's device."""
    return stepped(lowered.program, kernels_of(lowered.program, lowered.weights, tiles, shared), arrays)


def arrays_of(lowered: Lowered, streams: int) -> list[np.ndarray]:
    """Inputs and states."""
    return random_arrays((*lowered.program.role("input"), *lowered.program.role("state")), streams, 0)


def test_what_one_kernel_alone_touches_takes_no_memory_of_the_device() -> None:
    lowered = layered(1)
    own = cut(lowered, MUCH)
    assert kept_by(own) == [[], ["s1", "s2"], []]
    assert [buffer.name for buffer in own.program.role("scratch")] == ["s0", "s3"]
    found = layout_of(lowered, TILES[0], MUCH)
    assert found.scratch_bytes == scratch_bytes(own.program)
    assert found.scratch_bytes < layout_of(lowered, TILES[0], NONE).scratch_bytes
    # Beside its two arrays a stream has some bytes between it and the next.
    assert [launch.shared_bytes // (4 * WIDTH) for launch in found.ways[0].launches][1] == 2


def test_scratch_without_room_stays_in_the_memory_of_the_device() -> None:
    lowered, streams = layered(1), arrays_of(layered(1), 19)
    one, both = (room_for(scratch_bytes(Program((), (), count * 4 * WIDTH, 0))) for count in (1, 2))
    kept = {both: ["s1", "s2"], both - 64: ["s1"], one: ["s1"], one - 64: [], NONE: []}
    assert {shared: kept_by(cut(lowered, shared))[1] for shared in kept} == kept
    every = [results(lowered, TILES[0], shared, streams) for shared in (MUCH, one, NONE)]
    for other in every[1:]:
        for first, same in zip(every[0], other, strict=True):
            np.testing.assert_array_equal(first, same)


def room_for(size: int) -> int:
    """The shared memory of blocks of 64 threads, 1,024 in all, each with so much and with what the system
    takes."""
    return 16 * (size + 1024) - 1024


def test_blocks_have_no_more_threads_than_work() -> None:
    """Of 128 elements a thread takes four."""
    assert [piece.tile.threads for piece in cut(layered(1), MUCH).pieces] == [128, 64, 128]


def test_layers_that_are_alike_have_one_kernel_for_all() -> None:
    found = layout_of(layered(12), TILES[0], MUCH)
    assert len(found.ways[0].launches) == 25
    # The first product reads what belongs to the caller, the last writes it.
    assert len({launch.kernel for launch in found.ways[0].launches}) == 4


@pytest.mark.parametrize("tiles", TILES)
def test_pools_of_any_size_have_the_reference_s_numbers(tiles: tuple[Tile, ...]) -> None:
    lowered = step_of_integers()
    arrays = arrays_of(lowered, 67)
    inputs = len(lowered.program.role("input"))
    case = Case(lowered.program, lowered.weights, tuple(arrays[:inputs]), tuple(arrays[inputs:]))
    wanted = expected(case)
    alike = results(lowered, (Tile(4, 128),), MUCH, arrays)
    for size in (1, 3, 67):
        got = results(lowered, tiles, MUCH, [array[:size].copy() for array in arrays])
        want = [array[:size] for array in (*wanted[0], *wanted[1])]
        assert differences(case, got, want, SUM_BOUND) == []
        for one, same in zip(got, alike, strict=True):
            np.testing.assert_array_equal(one, same[:size])


def test_rounding_a_state_needs_no_memory_of_the_device() -> None:
    """What it leaves to other kernels is what it leaves them with a state in floats."""
    floats = lower(recurrent_graph(WIDTH, WIDTH, WIDTH))
    assert cut(step_of_integers(), MUCH).program.scratch_bytes == cut(floats, MUCH).program.scratch_bytes
    assert any(kept_by(cut(step_of_integers(), MUCH)))


def test_a_recurrence_keeps_its_scratch_from_frame_to_frame() -> None:
    lowered = step_of_integers()
    program = laid_out(lowered.program, lowered.weights).program
    frames = cut_up_frames(unroll(program, 16), Tile(16, 256), Tile(1, 256), MUCH)
    assert any(piece.turns > 1 and piece.kept.buffers for piece in frames.pieces)


def test_live_values_in_one_place_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that placing is known to be tested by the others."""
    lowered, place = layered(1), pieces._kept
    streams = arrays_of(lowered, 5)
    right = results(lowered, TILES[0], MUCH, streams)

    def together(piece: Piece, program: Program, own: set[str], shared: int) -> Program:
        kept = place(piece, program, own, shared)
        return replace(kept, buffers=tuple(replace(buffer, offset=0) for buffer in kept.buffers))

    monkeypatch.setattr(pieces, "_kept", together)
    wrong = results(lowered, TILES[0], MUCH, streams)
    assert not np.array_equal(right[0], wrong[0])


def test_stages_near_each_other_stay_behind_what_they_read() -> None:
    lowered = step_of_integers()
    moved = near(lowered.program)
    check(moved)
    assert sorted(map(repr, moved.stages)) == sorted(map(repr, lowered.program.stages))
    assert moved.stages != lowered.program.stages
    written: set[str] = {b.name for role in ("input", "state", "constant") for b in moved.role(role)}
    for stage in moved.stages:
        assert loaded(stage) <= written | stored_into(stage)
        written |= stored_into(stage)
    arrays = arrays_of(lowered, 3)
    inputs = len(lowered.program.role("input"))
    given = tuple(arrays[:inputs]), tuple(arrays[inputs:])
    before, behind = (expected(Case(p, lowered.weights, *given)) for p in (lowered.program, moved))
    for one, same in zip(before[0] + before[1], behind[0] + behind[1], strict=True):
        np.testing.assert_array_equal(one, same)
