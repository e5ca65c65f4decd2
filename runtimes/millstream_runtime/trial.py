"""A bundle tried where it shall run: every target that opens here, and how fast the best one steps."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

import numpy as np

from millstream_runtime import machine
from millstream_runtime.bundle import Bundle
from millstream_runtime.errors import BackendError
from millstream_runtime.golden import Golden, load
from millstream_runtime.model import best_of, open_target
from millstream_runtime.replay import replay
from millstream_runtime.spec import GOLDEN, TargetSpec
from millstream_runtime.timing import step_times


def trial(bundle: Bundle, frames: int) -> dict[str, Any]:
    """Replay the golden frames on every target that opens, then time `frames` steps of the fastest one.

    The report is plain JSON: `passed`; `targets`, each with `passed` (None where it does not open, and `why`)
    and its `worst` difference and bound; `chosen`, what `load` takes; `median_us` and `p99_us` per step, None
    when a target failed. Raises NoBackendOpens with every reason, TensorsInvalid, PlanInvalid.
    """
    golden = load(bundle.members[GOLDEN], bundle.manifest.model)
    chosen = best_of(bundle)
    targets = [_replayed(bundle, target, golden) for target in bundle.manifest.targets]
    passed = all(target["passed"] is not False for target in targets)
    median, p99 = np.percentile(step_times(chosen, golden, frames), [50, 99]) if passed else (None, None)
    return {
        "passed": passed,
        "targets": targets,
        "chosen": chosen.target.name,
        "backend": chosen.backend,
        "median_us": None if median is None else float(median),
        "p99_us": None if p99 is None else float(p99),
        "steps": frames,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpu": machine.cpu_name(),
    }


def _replayed(bundle: Bundle, target: TargetSpec, golden: Golden) -> dict[str, Any]:
    found: dict[str, Any] = {"target": target.name, "backend": target.backend}
    try:
        core = open_target(bundle, target).core
    except BackendError as error:
        return {**found, "passed": None, "why": "; ".join(filter(None, (error.what, error.why)))}
    result = replay(core, golden, target.tolerance)
    worst = asdict(result.worst)
    if not np.isfinite(result.worst.largest):
        worst["largest"] = None  # JSON has no infinity
    return {**found, "passed": result.passed, "ticks": result.ticks, "worst": worst}
