"""Kernels for GPUs, on the CPU by OpenCL: every operation and form, pools on a device, what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from backend_programs import (
    Case,
    F,
    cascade,
    contract_of,
    differences,
    elementwise,
    expected,
    matrix_vectors,
    open_opencl,
    operations,
    pairs,
    pointwise_differences,
    poisoned,
    run,
)
from gpu_steps import kernels_of, step_of
from int8_programs import SHAPES, convolution, products, recurrence
from lowered_models import MODELS, lowered_model, random_arrays

from millstream.lower.execute import execute
from millstream.targets import cuda as cuda_half
from millstream.targets.gpu.barriers import barriers
from millstream.targets.gpu.compiling import SPREAD, Choice, kernels
from millstream.targets.gpu.forms import Tile
from millstream_runtime.backends.gpu import dlpack, layout
from millstream_runtime.backends.gpu.chunks import DeviceChunks
from millstream_runtime.backends.gpu.step import DeviceStep
from millstream_runtime.core import Core
from millstream_runtime.errors import PlanInvalid, WrongDtype
from millstream_runtime.nonfinite import propagate
from millstream_runtime.pool import Pool
from millstream_runtime.program import DTYPES, Access, Buffer, Call, Constant, Load, Program, Stage

# As in the tests of the printers.
SUM_BOUND, FUNCTION_BOUND = 1e-5, 1e-6
#: One block for a stream, for several, and steps cut up with tiles of every kind.
FORMS = (
    (Tile(1, 256),),
    (Tile(4, 128),),
    (Tile(1, 64), Tile(1, 512)),
    (Tile(16, 128), Tile(2, 64)),
    (Tile(64, 128), Tile(1, 256)),
    (SPREAD, Tile(1, 512)),
)


def opened(program: Program, weights: bytes, tiles: tuple[Tile, ...]) -> DeviceStep:
    """The step with these tiles alone."""
    return step_of(kernels_of(program, weights, tiles))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_operation(dtype: str) -> None:
    case = elementwise(operations(dtype), pairs(dtype))
    assert pointwise_differences(case, run(open_opencl, case)[0], expected(case)[0], FUNCTION_BOUND) == []


def test_programs_of_integers_are_equal_to_the_bit() -> None:
    for case in (products(SHAPES, 2), convolution(), convolution((-8, 7)), recurrence()):
        got, want = run(open_opencl, case), expected(case)
        assert differences(case, got[0] + got[1], want[0] + want[1], 0) == []


@pytest.mark.parametrize("tiles", FORMS)
def test_sums_of_every_size_in_every_form(tiles: tuple[Tile, ...]) -> None:
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (3, 5), (4, 4), (35, 128), (40, 256), (8, 40), (128, 100), (256, 512), (64, 1024)]
    for case in (matrix_vectors(shapes, rng, 19), cascade(24, rng, 19)):
        got, want = run(lambda program, weights: opened(program, weights, tiles), case), expected(case)
        assert differences(case, got[0] + got[1], want[0] + want[1], SUM_BOUND) == []


def outputs(step: DeviceStep, program: Program, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs and next states of all streams in `arrays`."""
    streams = len(next(iter(arrays.values())))
    roles = {role: program.role(role) for role in ("input", "state", "output", "next_state")}
    made = poisoned(streams, [*roles["output"], *roles["next_state"]])
    given = [[arrays[b.name] for b in roles[role]] for role in ("input", "state")]
    step.bind(*given, made[: len(roles["output"])], made[len(roles["output"]) :])()
    return made


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_models_have_the_same_numbers_in_every_form_and_number_of_streams(make: type) -> None:
    lowered = lowered_model(make)
    program, weights = lowered.program, lowered.weights
    callers = (*program.role("input"), *program.role("state"))
    arrays = dict(zip([b.name for b in callers], random_arrays(callers, 67, 0), strict=True))
    case = Case(
        program,
        weights,
        tuple(arrays[b.name] for b in program.role("input")),
        tuple(arrays[b.name] for b in program.role("state")),
    )
    wanted = expected(case)
    found = [outputs(opened(program, weights, tiles), program, arrays) for tiles in FORMS]
    assert differences(case, found[0], wanted[0] + wanted[1], SUM_BOUND) == []
    few = {name: np.ascontiguousarray(array[:3]) for name, array in arrays.items()}
    alone = outputs(opened(program, weights, FORMS[-1]), program, few)
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, same)
    for one, same in zip(found[0], alone, strict=True):
        np.testing.assert_array_equal(one[:3], same)


def core_of(case: Case) -> Core:
    """A model of a program, on the device."""
    contract = contract_of(case.program)
    return Core(contract.spec, open_opencl(case.program, case.weights), contract.initial, "test")


def states_after(case: Case, frames: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The states of one stream after frames, each an array for every input."""
    states = [np.zeros(b.size, b.dtype) for b in case.program.role("state")]
    for frame in frames:
        _, states = execute(case.program, case.weights, list(frame), states)
    return list(states)


def test_a_pool_keeps_its_states_on_the_device_and_rows_apart() -> None:
    rng = np.random.default_rng(0)
    case = cascade(24, rng, 1)
    core, size = core_of(case), 70
    inputs = case.program.role("input")
    frames = [[rng.standard_normal((size, b.size)).astype(b.dtype) for b in inputs] for _ in range(6)]
    mask = rng.random((6, size)) < 0.6
    pool = Pool(core, size, propagate)
    for frame, active in zip(frames, mask, strict=True):
        got = pool.step(*frame, active=active)
        assert not (got if isinstance(got, np.ndarray) else got[0])[~active].any()
    for row in (0, 1, 31, 69):
        taken = [
            [array[row] for array in frame] for frame, active in zip(frames, mask, strict=True) if active[row]
        ]
        again = Pool(core, 2, propagate)
        again.load(1, pool.save(row))
        for got, want in zip(again._registers.save(1), states_after(case, taken), strict=True):
            np.testing.assert_allclose(
                got, np.ravel(want), rtol=0, atol=SUM_BOUND * max(1.0, np.abs(want).max())
            )
        again.reset(np.array([False, True]))
        assert not any(state.any() for state in again._registers.save(1))


def test_a_bound_step_outlives_what_it_was_made_from() -> None:
    case = matrix_vectors([(64, 64)], np.random.default_rng(0), 3)
    want = expected(case)[0]
    program = case.program
    made = poisoned(3, program.role("output"))
    call = open_opencl(program, case.weights).bind(list(case.inputs), [], made, [])
    # Memory that nobody kept would be given to these.
    others = [open_opencl(program, case.weights).bind(list(case.inputs), [], made, []) for _ in range(20)]
    for other in others:
        other()
    del others, other
    for array in made:
        array[...] = np.nan
    call()
    assert differences(case, made, want, SUM_BOUND) == []


@pytest.mark.parametrize("tiles", [FORMS[0], FORMS[3]])
@pytest.mark.parametrize("make", [MODELS[0], MODELS[-1]], ids=lambda make: make.__name__)
def test_steps_in_one_recording_have_the_bits_of_steps(make: type, tiles: tuple[Tile, ...]) -> None:
    lowered = lowered_model(make)
    step, program = opened(lowered.program, lowered.weights, tiles), lowered.program
    chunks, roles = DeviceChunks(step), ("input", "state", "output", "next_state")
    given, before, made, after = (program.role(role) for role in roles)
    inputs, states = random_arrays(given, chunks.frames, 0), random_arrays(before, 1, 1)
    together, last = poisoned(chunks.frames, made), poisoned(1, after)
    run = chunks.bind(inputs, states, together, last)
    for _ in range(2):  # nothing is kept from one run to the next
        for array in (*together, *last):
            array[...] = np.full((), -1).astype(array.dtype)
        run()
        now = [state.copy() for state in states]
        for frame in range(chunks.frames):
            outs, behind = poisoned(1, made), poisoned(1, after)
            step.bind([x[frame : frame + 1] for x in inputs], now, outs, behind)()
            for one, all_frames in zip(outs, together, strict=True):
                np.testing.assert_array_equal(one[0], all_frames[frame])
            now = behind
        for one, same in zip(now, last, strict=True):
            np.testing.assert_array_equal(one, same)


def test_the_way_follows_the_number_of_streams() -> None:
    ways = tuple(layout.Way(least, ()) for least in (1, 64, 512))
    whole = layout.Layout((), 0, 0, ways)
    assert [layout.way_for(whole, n).least for n in (1, 63, 64, 511, 512, 9999)] == [1, 1, 64, 64, 512, 512]


def scratch_program(stages: Sequence[tuple[str, str]], offsets: dict[str, int]) -> Program:
    """Copies from buffer to buffer, those with an offset in scratch."""
    names = dict.fromkeys(name for pair in stages for name in pair)
    roles = {"x": "input", "y": "output", "z": "output"}
    buffers = tuple(Buffer(n, roles.get(n, "scratch"), F, 16, offsets.get(n, 0)) for n in names)
    made = tuple(
        Stage("", (16,), None, Load(Access(source, 0, (1,)), F), Access(target, 0, (1,)))
        for source, target in stages
    )
    return Program(buffers, made, 256, 0)


def test_barriers_stand_where_memory_meets() -> None:
    apart = {"a": 0, "b": 64}
    chain = scratch_program([("x", "a"), ("x", "b"), ("a", "y"), ("b", "z")], apart)
    assert barriers(chain.stages, chain) == (False, False, True, False)
    # b lies where a lay: it may be written when all have read a.
    again = scratch_program([("x", "a"), ("a", "y"), ("x", "b"), ("b", "z")], {"a": 0, "b": 0})
    assert barriers(again.stages, again) == (False, True, True, True)


def test_kernels_without_their_barriers_are_wrong() -> None:
    """So that the barriers are known to be tested by the others."""
    lowered = lowered_model(MODELS[0])
    made = kernels_of(lowered.program, lowered.weights, (Tile(4, 128),))
    functions = tuple(
        text.replace("T.evaluate(T.tvm_storage_sync('shared'))", "T.evaluate(0)") for text in made.functions
    )
    step = step_of(replace(made, functions=functions))
    callers = (*lowered.program.role("input"), *lowered.program.role("state"))
    arrays = dict(zip([b.name for b in callers], random_arrays(callers, 8, 0), strict=True))
    right = outputs(opened(lowered.program, lowered.weights, (Tile(4, 128),)), lowered.program, arrays)
    wrong = outputs(step, lowered.program, arrays)
    assert not all(np.array_equal(x, y) for x, y in zip(right, wrong, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"ways": []},
        {"ways": [{"least": 2, "launches": []}]},
        {"scratch_bytes": -1},
        {"callers": [["x", "input", "float31", 3]]},
        {"callers": 7},
    ],
)
def test_a_malformed_layout_is_refused(change: dict) -> None:
    case = matrix_vectors([(8, 8)], np.random.default_rng(0), 1)
    made = kernels(case.program, case.weights, [Choice(1, (Tile(1, 64),))], 1 << 20)
    document = json.loads(made.layout) | change
    with pytest.raises(PlanInvalid):
        layout.load(json.dumps(document).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"streams": 3},
        {"threads": 2048},
        {"columns": 0},
        {"arrays": ["nobody"]},
        {"numbers": [-1]},
        {"kernel": 1},
    ],
)
def test_a_malformed_launch_is_refused(change: dict) -> None:
    case = matrix_vectors([(8, 8)], np.random.default_rng(0), 1)
    made = kernels(case.program, case.weights, [Choice(1, (Tile(1, 64),))], 1 << 20)
    document = json.loads(made.layout)
    document["ways"][0]["launches"][0] |= change
    with pytest.raises(PlanInvalid):
        layout.load(json.dumps(document).encode())


def test_frames_on_a_device_are_refused_by_opencl() -> None:
    case = cascade(24, np.random.default_rng(0), 1)
    with pytest.raises(WrongDtype, match="those of the host alone"):
        Pool(core_of(case), 2, propagate).step(*(_Elsewhere() for _ in case.inputs))


class _Elsewhere:
    """What says that it lies on a device."""

    def __dlpack__(self, **options: object) -> None: ...


class _Exported:
    """An array given out as DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **options: object) -> object:
        array = self.array
        return dlpack.give(array.ctypes.data, array.shape, array.dtype.name, (1, 0), array)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8", "int64", "bool"])
def test_arrays_pass_through_dlpack_without_a_copy(dtype: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    taken = np.from_dlpack(_Exported(array))
    assert taken.ctypes.data == array.ctypes.data
    np.testing.assert_array_equal(taken, array)
    del taken
    assert not dlpack._given
    given = dlpack.read(_Exported(array), 0)
    assert (given.address, given.shape, given.dtype) == (array.ctypes.data, (3, 4), dtype)
    assert given.is_contiguous
    del given
    assert not dlpack._given


def test_dlpack_knows_what_is_not_contiguous() -> None:
    class Strided:
        def __dlpack__(self, stream: int) -> object:
            return np.arange(12.0).reshape(3, 4).T.__dlpack__()

    assert not dlpack.read(Strided(), 0).is_contiguous


def test_a_cubin_says_what_it_is_for() -> None:
    case = matrix_vectors([(8, 8)], np.random.default_rng(0), 1)
    made = cuda_half.compile_program(case.program, case.weights, "sm_90")
    assert made.files["step.cubin"][:4] == b"\x7fELF"
    assert made.machine.arch == "sm_90"


def test_a_step_with_much_scratch_still_has_a_way() -> None:
    """A whole kernel that asks for more shared memory than there is is left out."""
    case = matrix_vectors([(64, 64)], np.random.default_rng(0), 1)
    wide = replace(case.program, scratch_bytes=1 << 20)
    made = kernels(wide, case.weights, [Choice(1, (Tile(1, 256),))], 64 << 10)
    assert [way.least for way in layout.load(made.layout).ways] == [1]


def test_constants_of_zero_keep_nan() -> None:
    """TVM takes 0 * x for 0; a device must not."""
    x = Load(Access("x", 0, (1,)), F)
    case = elementwise(
        [Call("multiply", (x, Constant(0.0, F)), F)], {"x": np.array([[np.nan, np.inf, 1.0]], F)}
    )
    np.testing.assert_array_equal(run(open_opencl, case)[0][0], [[np.nan, np.nan, 0.0]])
