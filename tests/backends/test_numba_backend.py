"""The run half of Numba trusts neither the plan nor its cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from backend_programs import SPEC, Case, differences, elementwise, expected, load, run

from millstream_runtime import plan
from millstream_runtime.backends import Step
from millstream_runtime.backends import numba as run_half
from millstream_runtime.errors import PlanInvalid
from millstream_runtime.program import Call, Program
from millstream_runtime.spec import Memory, TargetSpec, Tolerance

TARGET = TargetSpec("numba", "numba", (), Tolerance(0, 0, ""), Memory(0, 0, 0))


def _open(program: Program, weights: bytes) -> Step:
    return run_half.open({"plan.json": plan.dump(program), "weights.bin": weights}, SPEC, TARGET)


@pytest.fixture
def case() -> Case:
    x = np.arange(8, dtype=np.float32).reshape(1, 8)
    return elementwise([Call("add", (load("a"), load("a")), "float32")], {"a": x})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MILLSTREAM_CACHE", str(tmp_path))
    return tmp_path / "numba"


def _right(case: Case) -> bool:
    return differences(case, run(_open, case)[0], expected(case)[0], 0.0) == []


def test_a_changed_cached_source_is_replaced_and_not_executed(
    case: Case, cache: Path, tmp_path: Path
) -> None:
    assert _right(case)
    (source,) = cache.glob("step_*.py")
    genuine = source.read_bytes()
    mark = tmp_path / "executed"
    source.write_text(f"open({str(mark)!r}, 'w')\n" + genuine.decode().replace("+ b0", "- b0"))
    assert _right(case)
    assert not mark.exists()
    assert source.read_bytes() == genuine


def test_the_cache_is_the_users_alone(case: Case, cache: Path) -> None:
    assert _right(case)
    assert cache.stat().st_mode & 0o077 == 0


def test_a_cache_that_others_can_write_is_not_used(case: Case, cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    assert _right(case)
    assert list(cache.iterdir()) == []


def test_no_cache_directory_is_no_obstacle(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    monkeypatch.setenv("MILLSTREAM_CACHE", str(blocked))
    assert _right(case)


def test_compiled_code_comes_from_the_cache_the_second_time(case: Case, cache: Path) -> None:
    text = plan.dump(case.program).decode()
    script = (
        "import sys\nfrom millstream_runtime.backends import numba\nfrom numba.core import ccallback\n"
        "def refuse(self): raise SystemExit('compiled anew')\n"
        "if sys.argv[2] == 'warm': ccallback.CFunc._compile_uncached = refuse\n"
        "numba.open({'plan.json': sys.argv[1].encode(), 'weights.bin': b''}, None, None)\n"
    )
    for state in ("cold", "warm"):
        subprocess.run([sys.executable, "-c", script, text, state], check=True, env=os.environ)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"float32"', '"float33"'),
        ('"extents":[8]', '"extents":[9]'),
        ('"add"', '"system"'),
        ('["out0",0,[1],[]]', '["out0",-1,[1],[]]'),
        ('["out0",0,[1],[]]', '["a",0,[1],[]]'),
        ("{", "["),
    ],
)
def test_a_malformed_plan_is_refused(case: Case, old: str, new: str) -> None:
    text = plan.dump(case.program).decode()
    assert old in text
    with pytest.raises(PlanInvalid):
        run_half.open({"plan.json": text.replace(old, new).encode(), "weights.bin": b""}, SPEC, TARGET)


def test_weights_of_another_length_are_refused(case: Case) -> None:
    with pytest.raises(PlanInvalid):
        _open(case.program, bytes(4))


def test_hostile_names_do_not_reach_the_source(case: Case, cache: Path) -> None:
    text = (
        plan.dump(case.program).decode().replace('"a"', '"x[0]\\nimport os"').replace("stage 0", "\\nraise")
    )
    step = run_half.open({"plan.json": text.encode(), "weights.bin": b""}, SPEC, TARGET)
    out = np.empty_like(case.inputs[0])
    step.bind(case.inputs, [], [out], [])()
    assert np.array_equal(out, case.inputs[0] * 2)
    (source,) = cache.glob("step_*.py")
    assert "import" not in source.read_text()
    assert "raise" not in source.read_text()
