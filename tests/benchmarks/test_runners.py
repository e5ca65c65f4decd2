"""What the benchmarks rest on: a runner in a process of its own, held against torch before it is timed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_a_runner_answers_as_torch_does_and_then_is_timed(tmp_path: Path) -> None:
    from agreement import expected, float32
    from processes import converted, worker
    from workloads import workload

    files = converted(sys.executable, "peers.torch_eager:note", "B", tmp_path)
    with worker(sys.executable, "peers.torch_eager:open_step", files) as eager:
        assert float32(np.array(eager.outputs()), expected(workload("B"))) < 1e-6
        assert eager.round() > 0


def test_outputs_of_a_runner_that_loses_its_state_are_refused() -> None:
    from agreement import expected, float32, int8
    from frames import CHECKED, FRAMES
    from processes import RunnerFailed
    from workloads import workload

    for name in "ABCD":
        module = workload(name)
        frames = torch.from_numpy(FRAMES[:CHECKED])
        with torch.inference_mode():
            forgetful = module.step(frames, module.initial_state(CHECKED))[0].numpy()
        for check in (float32, int8):
            with pytest.raises(RunnerFailed, match="does not answer as torch does"):
                check(forgetful, expected(module))


def test_what_is_not_a_number_is_refused() -> None:
    from agreement import float32, int8
    from processes import RunnerFailed

    for check in (float32, int8):
        with pytest.raises(RunnerFailed, match="nan"):
            check(np.array([1, np.nan]), np.ones(2))


def test_a_missing_library_is_the_reason(tmp_path: Path) -> None:
    from processes import RunnerFailed, converted

    with pytest.raises(RunnerFailed, match="ModuleNotFoundError: No module named 'no_such_library'"):
        converted(sys.executable, "no_such_library:convert", "B", tmp_path)
    assert not (tmp_path / "B.no_such_library.convert").exists()


def test_a_runner_that_dies_is_told_by_its_signal(tmp_path: Path) -> None:
    from processes import RunnerFailed, converted, worker

    files = converted(sys.executable, "peers.torch_eager:note", "B", tmp_path)
    with worker(sys.executable, "peers.torch_eager:open_step", files) as eager:
        os.kill(eager.process.pid, signal.SIGSEGV)
        with pytest.raises(RunnerFailed, match="died of signal 11"):
            eager.round()
