"""How fast a bundle runs here, one stream in one thread, and how much memory it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np

from millstream.opening import Opened, asked, open_all
from millstream.whereabouts import runs_here, why_elsewhere
from millstream_runtime.bundle import Bundle
from millstream_runtime.golden import Golden, load
from millstream_runtime.spec import GOLDEN, Memory, TargetSpec
from millstream_runtime.timing import step_times

#: Libraries that spread one step over threads would measure the machine, not the step.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Speed:
    """Microseconds per `Stream.step`, and milliseconds from a bare process with NumPy to the first output."""

    median_us: float
    p99_us: float
    cold_load_ms: float


@dataclass(frozen=True)
class Measured:
    """One target: its memory as the compiler knows it, its speed or why it does not open here."""

    target: str
    backend: str
    memory: Memory
    speed: Speed | None
    why: str = ""


def bench(bundle: Bundle, frames: int, backend: str | None = None) -> tuple[Measured, ...]:
    """Measure every target that opens, or those of `backend`, over `frames` steps on golden frames.

    A backend that compiles on the device has done so before: its cold load reads the cache.
    Raises NoBackendOpens, BatchFixed, a BackendError for the backend asked for.
    """
    golden = load(bundle.members[GOLDEN], bundle.manifest.model)
    chosen = asked(bundle, backend)
    opened = open_all(bundle, [target for target in chosen if runs_here(target)])
    measured = {one.target.name: _measured(bundle, one, golden, frames) for one in opened}
    return tuple(measured.get(target.name) or _elsewhere(target) for target in chosen)


def _measured(bundle: Bundle, opened: Opened, golden: Golden, frames: int) -> Measured:
    target, speed = opened.target, None
    if opened.model is not None:
        times = step_times(opened.model, golden, frames)
        median, p99 = np.percentile(times, [50, 99])
        speed = Speed(float(median), float(p99), _cold_load(bundle.path, target.backend))
    return Measured(target.name, target.backend, target.memory, speed, opened.why)


def _elsewhere(target: TargetSpec) -> Measured:
    """A target that this machine could only emulate, which says nothing of its speed."""
    why = f"{why_elsewhere(target)}: measure it on its device"
    return Measured(target.name, target.backend, target.memory, None, why)


def _cold_load(path: str, backend: str) -> float:
    command = [sys.executable, "-m", "millstream.cold_load", path, backend]
    done = subprocess.run(
        command, env=os.environ | _ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)
