"""Frames of one stream together on a device: the bits of frames one by one, in whatever order blocks come."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import int8_programs
import numpy as np
import pytest
import system_steps
from backend_programs import F, Weights, contract_of, load, matrix_vector, matrix_vectors
from lowered_models import MODELS, lmuformer_jv, lowered_model, random_arrays
from quantized_graphs import quantized_graph, recurrent_graph
from small_models import CentredAverage, ConvNet, DelayLine

from millstream.lower import Lowered, lower
from millstream.quantize import FORMATS
from millstream.quantize.states.storages import STORAGES
from millstream.quantize.states.writing import narrowed
from millstream.targets.gpu.build import opencl_source
from millstream.targets.gpu.compiling import Choice, kernels
from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.paying import pays, weights_read
from millstream.targets.gpu.prefill import is_apart, unroll
from millstream_runtime.backends.gpu import layout
from millstream_runtime.backends.gpu.chunks import DeviceChunks
from millstream_runtime.backends.gpu.prefill import DevicePrefill
from millstream_runtime.backends.gpu.step import DeviceStep
from millstream_runtime.backends.opencl import OpenclDevice
from millstream_runtime.core import Core
from millstream_runtime.errors import PlanInvalid
from millstream_runtime.nonfinite import propagate
from millstream_runtime.occurrence import accesses
from millstream_runtime.program import Access, Buffer, Call, Load, Lookup, Program, Stage
from millstream_runtime.stream import Stream


@cache
def square(width: int) -> Lowered:
    """y = V U x, and h' = W h, all square."""
    rng, weights, shape = np.random.default_rng(0), Weights(), (width, width)
    for name in "uvw":
        weights.add(name, (rng.standard_normal(width * width) / width**0.5).astype(F))
        weights.add(f"{name}.bias", rng.standard_normal(width).astype(F))
    roles = {"x": "input", "h": "state", "h2": "next_state", "y": "output", "ux": "scratch"}
    buffers = (*(Buffer(name, role, F, width) for name, role in roles.items()), *weights.buffers)
    pairs = {"u": ("x", "ux"), "v": ("ux", "y"), "w": ("h", "h2")}
    stages = tuple(matrix_vector(name, *pair, *shape, False) for name, pair in pairs.items())
    return Lowered(Program(buffers, stages, 4 * width, len(weights.blob)), weights.blob)


def integers() -> Lowered:
    """A recurrence in int8, four of whose products are added at a time."""
    case = int8_programs.recurrence(40, 64, 32)
    return Lowered(case.program, case.weights)


def mirrored(size: int) -> Lowered:
    """h' = x + h from its other end, alone: what one thread writes another reads. y = x."""
    roles = {"x": "input", "h": "state", "h2": "next_state", "y": "output"}
    buffers = tuple(Buffer(name, role, F, size) for name, role in roles.items())
    value = Call("add", (load("x"), Load(Access("h", size - 1, (-1,)), F)), F)
    stages = (
        Stage("", (size,), None, value, Access("h2", 0, (1,))),
        Stage("", (size,), None, load("x"), Access("y", 0, (1,))),
    )
    return Lowered(Program(buffers, stages, 0, 0), b"")


CASES: dict[str, Callable[[], Lowered]] = {
    "LMUFormer": lambda: lowered_model(lmuformer_jv),
    "states that only move": lambda: lowered_model(DelayLine),
    "look-ahead and a ring": lambda: lowered_model(CentredAverage),
    "no state": lambda: lowered_model(ConvNet),
    "Mamba": lambda: system_steps.lowered("mamba"),
    "gated DeltaNet": lambda: system_steps.lowered("gated_deltanet"),
    "a matrix of its state": lambda: square(128),
    "a state read backwards": lambda: mirrored(200),
    "integers": lambda: integers(),
    "w8a8": lambda: lower(quantized_graph(recurrent_graph(), FORMATS["w8a8"])),
    **{
        f"states in {storage.dtype}": lambda storage=storage: lower(
            narrowed(recurrent_graph(), {"state": storage})
        )
        for storage in STORAGES
    },
}
#: The least work for the host's compiler.
SMALL = (Choice(1, (Tile(1, 256), Tile(1, 256))),)


def core_of(lowered: Lowered, backwards: bool) -> Core:
    """The model on the device; `backwards` lets the last tile of streams or frames come first."""
    made = kernels(lowered.program, lowered.weights, SMALL, 32 << 10)
    source = opencl_source(made.functions)
    if backwards:
        source = source.replace("get_group_id(0)", "(get_num_groups(0) - 1 - get_group_id(0))")
    step = DeviceStep(OpenclDevice(source), layout.load(made.layout), made.weights)
    contract = contract_of(lowered.program)
    return Core(contract.spec, step, contract.initial, "test")


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("name", CASES)
def test_frames_pushed_have_the_bits_of_frames_stepped(name: str, backwards: bool) -> None:
    lowered = CASES[name]()
    core, inputs = core_of(lowered, backwards), lowered.program.role("input")
    assert isinstance(core.step.chunks, DevicePrefill)
    pushed, stepped = Stream(core, propagate), Stream(core, propagate)
    for seed, count in enumerate((1, 15, 16, 17, 40)):
        frames = random_arrays(inputs, count, seed)
        together = pushed.push(*frames)
        for number in range(count):
            one = stepped.step(*(array[number] for array in frames))
            for got, want in zip(*map(as_tuple, (together[number], one)), strict=True):
                np.testing.assert_array_equal(got, want)
        assert pushed.save() == stepped.save()
        resumed = Stream(core, propagate)
        resumed.load(pushed.save())
        pushed = resumed


def as_tuple(result: object) -> tuple:
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_no_frame_waits_for_another_but_in_turn(make: type) -> None:
    """What all frames do at once in one kernel reads no state that this kernel writes."""
    unrolled = unroll(lowered_model(make).program, 4)
    rows = {buffer.name: buffer.size for buffer in unrolled.program.role("state")}
    stages = [stage for run in unrolled.runs for stage in run.stages]
    assert len(stages) == len(lowered_model(make).program.stages)
    for run in unrolled.runs:
        if not run.in_turn:
            written = {stage.target.buffer for stage in run.stages}
            read = {
                access.buffer
                for stage in run.stages
                for access, _ in accesses(stage)
                if access.buffer in rows and access.offset < rows[access.buffer]
            }
            assert not written & read


def recurrence(value: Load | Call, size: int, row: int) -> tuple[Stage, Program]:
    """A stage that makes a next state, behind its state in the history `h`."""
    buffers = (Buffer("h", "state", F, row), Buffer("x", "input", F, size))
    stage = Stage("", (size,), None, value, Access("h", row, (1,)))
    return stage, Program(buffers, (stage,), 0, 0)


def test_blocks_may_share_a_recurrence_of_single_elements_alone() -> None:
    same = Call("add", (load("h"), load("x")), F)
    assert is_apart(*recurrence(same, 8, 8))
    assert is_apart(*recurrence(load("x"), 8, 8))
    moved = Load(Access("h", 1, (1,)), F)
    assert not is_apart(*recurrence(moved, 7, 8))
    turned = Load(Access("h", 7, (-1,)), F)
    assert not is_apart(*recurrence(turned, 8, 8))


def test_frames_go_together_where_that_reads_less_in_fewer_launches() -> None:
    small, large = square(16).program, square(1024).program
    assert pays(unroll(small, 16), 15, small, 1)
    assert not pays(unroll(small, 16), 17, small, 1)
    assert pays(unroll(small, 16), 17, small, 2)
    # One block reads everything in a whole step too, but not where products have all the device.
    assert pays(unroll(large, 16), 17, large, 1)
    assert not pays(unroll(large, 16), 8, large, 8)


def test_weights_are_counted_once_and_of_a_table_a_row() -> None:
    program = square(16).program
    assert [weights_read(stage, program) for stage in program.stages] == [4 * 16 * 17] * 3
    table = Buffer("t", "constant", F, 40 * 16)
    token = Load(Access("token", 0, (0, 0)), "int64")
    row = Access("t", 0, (0, 1), (Lookup(token, 40, 16),))
    looked_up = Stage("", (4, 16), None, Load(row, F), Access("y", 0, (16, 1)))
    buffers = (table, Buffer("token", "input", "int64", 1), Buffer("y", "output", F, 64))
    assert weights_read(looked_up, Program(buffers, (looked_up,), 0, 40 * 16 * 4)) == 4 * 16


@pytest.mark.parametrize("name", ["mamba", "gated_deltanet", "retnet", "gla"])
def test_of_a_linear_recurrence_all_products_go_together(name: str) -> None:
    """A Mamba of so small a width reads an eighth in turn: its decays and the taps of its convolution."""
    program = system_steps.lowered(name).program
    runs = unroll(program, 16).runs
    in_turn = sum(weights_read(s, program) for run in runs if run.in_turn for s in run.stages)
    assert in_turn <= 0.15 * sum(weights_read(stage, program) for stage in program.stages)


def layout_of() -> dict:
    """That of a product, its frames together."""
    case = matrix_vectors([(128, 128)], np.random.default_rng(0), 1)
    return json.loads(kernels(case.program, case.weights, SMALL, 32 << 10).layout)


def test_a_layout_from_before_frames_went_together_goes_step_by_step() -> None:
    lowered = lowered_model(DelayLine)
    made = kernels(lowered.program, lowered.weights, SMALL, 32 << 10)
    document = json.loads(made.layout)
    del document["prefill"]
    old = layout.load(json.dumps(document).encode())
    step = DeviceStep(OpenclDevice(opencl_source(made.functions)), old, made.weights)
    assert isinstance(step.chunks, DeviceChunks)


@pytest.mark.parametrize(
    "change", [{"frames": 0}, {"frames": 24}, {"frames": "16"}, {"scratch_bytes": -1}, {"launches": []}]
)
def test_malformed_frames_are_refused(change: dict) -> None:
    document = layout_of()
    layout.load(json.dumps(document).encode())
    document["prefill"] |= change
    with pytest.raises(PlanInvalid):
        layout.load(json.dumps(document).encode())


def test_frames_that_name_a_next_state_are_refused() -> None:
    """Together a next state is a row of its state's history."""
    document = layout_of()
    document["callers"] += [["s", "state", F, 4], ["s2", "next_state", F, 4]]
    launch = document["prefill"]["launches"][0]
    launch["arrays"][0] = "s"
    layout.load(json.dumps(document).encode())
    launch["arrays"][0] = "s2"
    with pytest.raises(PlanInvalid):
        layout.load(json.dumps(document).encode())
