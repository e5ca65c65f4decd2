"""Small programs on emulated machines: every operation, exact integers, rounding, and what goes wrong."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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
    load,
    matrix_vectors,
    operations,
    pairs,
    pointwise_differences,
    poisoned,
    run,
)
from int8_programs import SHAPES, convolution, products, recurrence
from kernel_programs import KERNELS, LIBRARIES, emulated

from millstream import targets
from millstream.errors import CallsUnresolved, EmulationFailed
from millstream.targets import object as object_half
from millstream.targets import tvm as tvm_half
from millstream.targets.tvm.levels import LEVELS
from millstream_runtime import machine, plan
from millstream_runtime.backends import tvm as run_half
from millstream_runtime.batched import STREAMS
from millstream_runtime.chunked import FRAMES
from millstream_runtime.errors import BackendMissing, BackendRefused, MachineMismatch
from millstream_runtime.program import DTYPES, Call, Expression
from millstream_runtime.spec import TargetSpec

# As in the tests of the printers.
SUM_BOUND, FUNCTION_BOUND = 1e-5, 1e-6
MACHINES = (*KERNELS, *LIBRARIES)


def _is_erf(expression: Expression) -> bool:
    return isinstance(expression, Call) and expression.operation == "erf"


@pytest.mark.parametrize(
    ("target", "dtype"),
    # All of them where pointers have 32 bits, in two very different instruction sets.
    [(name, dtype) for name in ("cortex-m7", "wasm32") for dtype in DTYPES]
    + [(name, F) for name in ("armv7-linux", "riscv64-linux", "aarch64-linux-dotprod")],
)
def test_every_operation(target: str, dtype: str) -> None:
    every = operations(dtype)
    if (target, dtype) == ("wasm32", "float64"):
        every = [expression for expression in every if not _is_erf(expression)]
    case = elementwise(every, pairs(dtype))
    got = run(emulated(target), case)[0]
    assert pointwise_differences(case, got, expected(case)[0], FUNCTION_BOUND) == []


@pytest.mark.parametrize("target", MACHINES)
def test_programs_of_integers_are_equal_to_the_bit(target: str) -> None:
    for case in (products(SHAPES, 2), convolution(), convolution((-8, 7)), recurrence()):
        got, want = run(emulated(target), case), expected(case)
        assert differences(case, got[0] + got[1], want[0] + want[1], 0) == []


@pytest.mark.parametrize("target", MACHINES)
def test_sums_and_states(target: str) -> None:
    """Products of odd sizes; then stages that hand on scratch and a state, in streams of their own."""
    for case in (
        matrix_vectors([(37, 5), (3, 96), (64, 37)], np.random.default_rng(0), 2),
        cascade(48, np.random.default_rng(0), 3),
    ):
        got, want = run(emulated(target), case), expected(case)
        assert differences(case, got[0] + got[1], want[0] + want[1], SUM_BOUND) == []


@pytest.mark.parametrize("target", LIBRARIES)
def test_batches_and_chunks_of_a_library(target: str) -> None:
    """A whole batch of streams and three more; then several frames of one stream against one by one."""
    rng = np.random.default_rng(0)
    case = cascade(48, rng, STREAMS + 3)
    got, want = run(emulated(target), case), expected(case)
    assert differences(case, got[0] + got[1], want[0] + want[1], SUM_BOUND) == []
    step = emulated(target)(case.program, case.weights)
    assert step.chunks is not None
    assert step.chunks.frames == FRAMES
    x, pick = (array[:FRAMES] for array in case.inputs)
    state, alone = case.states[0][:1].copy(), []
    for frame in range(FRAMES):
        y, after = (np.full((1, 48), np.nan, F) for _ in range(2))
        step.bind([x[frame : frame + 1], pick[frame : frame + 1]], [state], [y], [after])()
        alone.append(y)
        state = after
    y, after = np.full((FRAMES, 48), np.nan, F), np.full((1, 48), np.nan, F)
    step.chunks.bind([x, pick], [case.states[0][:1].copy()], [y], [after])()
    np.testing.assert_allclose(y, np.concatenate(alone), rtol=0, atol=SUM_BOUND * np.abs(y).max())
    np.testing.assert_allclose(after, state, rtol=0, atol=SUM_BOUND * np.abs(state).max())


@pytest.mark.parametrize("target", ["cortex-m4", "armv7-linux", "riscv64-linux", "aarch64-linux"])
def test_rounding_without_an_instruction_is_rounding(target: str) -> None:
    """To the bit, zeros with their sign; single numbers and vectors of them. The last machine has one."""
    near = np.float32(2**23) + np.array([-1, -0.5, 0, 1], F)
    # NEON of 32 bits takes what is smaller than a normal number for zero.
    tiny = 2e-38 if target == "armv7-linux" else 1e-45
    values = [0, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 3.5, tiny, 8388607.5, 1e10, np.inf, np.nan, *near]
    x = np.array([*values, *(-value for value in values)], F)[None]
    case = elementwise([Call(name, (load("a"),), F) for name in ("round", "floor", "ceil")], {"a": x})
    got, want = run(emulated(target), case)[0], expected(case)[0]
    for have, need in zip(got, want, strict=True):
        np.testing.assert_array_equal(np.isnan(have), np.isnan(need))
        assert np.where(np.isnan(have), 0, have).tobytes() == np.where(np.isnan(need), 0, need).tobytes()


def test_the_same_program_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    case = cascade(48, np.random.default_rng(0), 1)
    (tmp_path / "plan").write_bytes(plan.dump(case.program))
    (tmp_path / "weights").write_bytes(case.weights)
    script = (
        "import sys, pathlib, hashlib, json\n"
        "from backend_programs import contract_of\n"
        "from millstream import targets\n"
        "from millstream.targets import object as half\n"
        "from millstream_runtime import plan\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "program, weights = plan.load((here / 'plan').read_bytes()), (here / 'weights').read_bytes()\n"
        "made = {n: half.compile_program(program, weights, contract_of(program), targets.target(n)).files"
        " for n in ('cortex-m4', 'wasm32')}\n"
        "hashes = {n: {k: hashlib.sha256(v).hexdigest() for k, v in f.items()} for n, f in made.items()}\n"
        "print(json.dumps(hashes))\n"
    )
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "7"},
    )
    for name, found in json.loads(done.stdout).items():
        target = targets.target(name)
        made = object_half.compile_program(case.program, case.weights, contract_of(case.program), target)
        assert found == {file: hashlib.sha256(data).hexdigest() for file, data in made.files.items()}


@pytest.fixture(scope="module")
def negation() -> tuple[Case, TargetSpec, dict[str, bytes]]:
    """A program of one operation for a Cortex-M4."""
    case = elementwise([Call("negative", (load("a"),), F)], {"a": np.ones((1, 3), F)})
    target = targets.target("cortex-m4")
    made = object_half.compile_program(case.program, b"", contract_of(case.program), target)
    spec = TargetSpec(target.name, target.backend, (), made.tolerance, made.memory, made.machine)
    return case, spec, dict(made.files)


def test_a_step_that_faults_says_so(negation: tuple[Case, TargetSpec, dict[str, bytes]]) -> None:
    case, spec, files = negation
    body = files["step.c"].replace(
        b"const uintptr_t table[]", b'__asm volatile("udf #0");\nconst uintptr_t table[]'
    )
    step = object_half.open({**files, "step.c": body}, contract_of(case.program).spec, spec)
    call = step.bind(case.inputs, [], poisoned(1, case.program.role("output")), [])
    for _ in range(2):
        with pytest.raises(EmulationFailed, match="qemu-system-arm"):
            call()


def test_files_that_cannot_be_built_are_refused(negation: tuple[Case, TargetSpec, dict[str, bytes]]) -> None:
    case, spec, files = negation
    with pytest.raises(BackendRefused, match="expected"):
        object_half.open({**files, "step.c": b"this is no C"}, contract_of(case.program).spec, spec)
    with pytest.raises(BackendRefused, match="toaster"):
        object_half.open(files, contract_of(case.program).spec, replace(spec, name="toaster"))


def test_without_an_emulator_the_line_that_installs_it_is_named(
    negation: tuple[Case, TargetSpec, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case, spec, files = negation
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendMissing, match="qemu-system-arm"):
        object_half.open(files, contract_of(case.program).spec, spec)


def test_an_emulated_step_leaves_nothing_behind(
    negation: tuple[Case, TargetSpec, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case, spec, files = negation
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gc.collect()
    before = _children()
    step = object_half.open(files, contract_of(case.program).spec, spec)
    assert list(tmp_path.iterdir())
    assert len(_children() - before) == 1
    del step
    gc.collect()
    assert not list(tmp_path.iterdir())
    assert _children() <= before


def _children() -> set[str]:
    """The processes that this one started and has not seen the end of."""
    return {
        pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    }


def test_what_no_machine_brings_is_refused() -> None:
    case = elementwise([Call("erf", (load("a", "float64"),), "float64")], {"a": np.ones((1, 3))})
    with pytest.raises(CallsUnresolved, match="erf"):
        emulated("wasm32")(case.program, b"")
    assert differences(case, run(emulated("riscv64-linux"), case)[0], expected(case)[0], 1e-12) == []


def test_a_library_of_another_architecture_is_refused_by_its_run_half() -> None:
    case = elementwise([Call("negative", (load("a"),), F)], {"a": np.ones((1, 3), F)})
    name = "aarch64-linux" if machine.here().arch == "x86_64" else "x86-64-v2"
    made = tvm_half.compile_program(case.program, b"", LEVELS[name])
    spec = TargetSpec(name, "tvm", (), made.tolerance, made.memory, made.machine)
    with pytest.raises(MachineMismatch, match=made.machine.arch):
        run_half.open(made.files, contract_of(case.program).spec, spec)
