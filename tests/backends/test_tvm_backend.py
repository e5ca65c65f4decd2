"""The TVM target's library: what it needs, where it runs, and that the same program gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from backend_programs import SPEC, Case, cascade, differences, expected, matrix_vectors, run

from millstream.targets import Compiled
from millstream.targets import tvm as compile_half
from millstream.targets.tvm import levels
from millstream_runtime import machine, plan
from millstream_runtime.backends import Step
from millstream_runtime.backends import tvm as run_half
from millstream_runtime.errors import BackendRefused, MachineMismatch, PlanInvalid
from millstream_runtime.program import Program
from millstream_runtime.spec import Machine, TargetSpec


@pytest.fixture(scope="module")
def case() -> Case:
    return cascade(48, np.random.default_rng(0), 1)


@pytest.fixture(scope="module")
def compiled(case: Case) -> Compiled:
    return compile_half.compile_program(case.program, case.weights, levels.level_of("cpu"))


def _target(compiled: Compiled) -> TargetSpec:
    return TargetSpec("cpu", "tvm", (), compiled.tolerance, compiled.memory, compiled.machine)


def test_a_fresh_interpreter_runs_it_without_the_toolchain(
    case: Case, compiled: Compiled, tmp_path: Path
) -> None:
    for name, data in compiled.files.items():
        (tmp_path / name).write_bytes(data)
    arrays = {f"i{n}": array for n, array in enumerate((*case.inputs, *case.states))}
    np.savez(tmp_path / "arrays.npz", **arrays)
    script = (
        "import sys, pathlib, numpy as np\n"
        "from millstream_runtime.backends import tvm\n"
        "from millstream_runtime.spec import *\n"
        "here = pathlib.Path(sys.argv[1]); a = np.load(here / 'arrays.npz')\n"
        "files = {n: (here / n).read_bytes() for n in ('step.so', 'weights.bin', 'layout.json')}\n"
        "target = TargetSpec('cpu', 'tvm', (), Tolerance(0, 0, ''), Memory(0, 0, 0))\n"
        "y, s = np.full_like(a['i0'], np.nan), np.full_like(a['i0'], np.nan)\n"
        "tvm.open(files, None, target).bind([a['i0'], a['i1']], [a['i2']], [y], [s])()\n"
        "bad = {'tvm', 'torch', 'onnx', 'numba', 'millstream'} & {m.split('.')[0] for m in sys.modules}\n"
        "assert not bad, bad\n"
        "np.save(here / 'y.npy', y)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    want = expected(case)[0][0]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), want, rtol=0, atol=1e-5 * abs(want).max())


def test_the_library_needs_only_the_c_library(compiled: Compiled, tmp_path: Path) -> None:
    path = tmp_path / "step.so"
    path.write_bytes(compiled.files["step.so"])
    lines = subprocess.run(
        ["nm", "-D", "--undefined-only", str(path)], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    strong = {line.split()[-1].split("@")[0] for line in lines if " U " in line}
    assert strong <= {"memset", "memcpy"}


def test_the_same_program_gives_the_same_bytes_in_another_process(
    case: Case, compiled: Compiled, tmp_path: Path
) -> None:
    (tmp_path / "plan").write_bytes(plan.dump(case.program))
    (tmp_path / "weights").write_bytes(case.weights)
    script = (
        "import sys, pathlib, hashlib, json\n"
        "from millstream.targets import tvm\n"
        "from millstream.targets.tvm.levels import level_of\n"
        "from millstream_runtime import plan\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "program = plan.load((here / 'plan').read_bytes())\n"
        "made = tvm.compile_program(program, (here / 'weights').read_bytes(), level_of('cpu'))\n"
        "print(json.dumps({k: hashlib.sha256(v).hexdigest() for k, v in made.files.items()}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, stdout=subprocess.PIPE)
    here = {name: hashlib.sha256(data).hexdigest() for name, data in compiled.files.items()}
    assert json.loads(done.stdout) == here


def test_memory_is_what_the_program_says(case: Case, compiled: Compiled) -> None:
    assert compiled.memory.state == 48 * 4
    assert compiled.memory.scratch == case.program.scratch_bytes
    assert compiled.memory.weights == len(compiled.files["weights.bin"])


def test_another_machine_is_refused(compiled: Compiled) -> None:
    target = replace(_target(compiled), machine=Machine("linux", "mips", ()))
    with pytest.raises(MachineMismatch):
        run_half.open(compiled.files, SPEC, target)


def test_a_library_that_is_none_is_refused(compiled: Compiled) -> None:
    for code in (b"", b"not a library", compiled.files["step.so"][:200]):
        with pytest.raises(BackendRefused):
            run_half.open({**compiled.files, "step.so": code}, SPEC, _target(compiled))


@pytest.mark.parametrize(
    "layout",
    [
        b"",
        b"{}]",
        b"[1]",
        b"{}",
        b'{"scratch_bytes":-1,"callers":[]}',
        b'{"scratch_bytes":0,"callers":[["a","input","float33",4]]}',
        b'{"scratch_bytes":0,"callers":[["a","nothing","float32",4]]}',
        b'{"scratch_bytes":0,"callers":[["a","input","float32",-1]]}',
        b'{"scratch_bytes":0,"callers":[["w","constant","float32",1]]}',
        b'{"scratch_bytes":0,"callers":[["a","input","float32"]]}',
    ],
)
def test_a_malformed_layout_is_refused(compiled: Compiled, layout: bytes) -> None:
    with pytest.raises(PlanInvalid):
        run_half.open({**compiled.files, "layout.json": layout}, SPEC, _target(compiled))


_HERE = [level for level in (*levels.HOSTS, levels.ANY) if machine.is_kind(level.machine)]


@pytest.mark.parametrize("level", _HERE, ids=lambda level: "".join((level.mcpu, *level.attributes)))
def test_each_level_of_cpu_gives_the_same_numbers(level: levels.Level) -> None:
    """A level that this CPU lacks must be refused here; the others must be right."""
    case = matrix_vectors([(37, 96), (2, 37)], np.random.default_rng(0), 1)
    compiled = compile_half.compile_program(case.program, case.weights, level)
    if not set(level.machine.features) <= set(machine.here().features):
        with pytest.raises(MachineMismatch):
            run_half.open(compiled.files, SPEC, _target(compiled))
        return

    def opener(program: Program, weights: bytes) -> Step:
        return run_half.open(compiled.files, SPEC, _target(compiled))

    assert differences(case, run(opener, case)[0], expected(case)[0], 1e-5) == []
