"""Whether a bundle still gives its golden numbers here: on every backend that opens, and the reference."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace

from millstream.opening import Opened, asked, open_all
from millstream.whereabouts import runs_here, why_elsewhere
from millstream_runtime import machine
from millstream_runtime.bundle import Bundle
from millstream_runtime.core import Core
from millstream_runtime.golden import Golden, load
from millstream_runtime.replay import Difference, replay
from millstream_runtime.spec import GOLDEN, STEP, Tolerance

#: The reference made the golden sequence; another machine's libm may round the last bit otherwise.
REFERENCE_TOLERANCE = Tolerance(1e-6, 1e-7, "another machine's elementary functions differ by an ulp")


@dataclass(frozen=True)
class Verdict:
    """What the golden replay on one backend gave.

    `passed` is None when the backend does not open here, and `why` says so; it also says what ran in place
    of a device. `worst` is the difference that comes nearest to its bound.
    """

    target: str
    backend: str
    passed: bool | None
    ticks: int = 0
    worst: Difference | None = None
    why: str = ""


def verify(bundle: Bundle, backend: str | None = None) -> tuple[Verdict, ...]:
    """Replay the golden sequence of a bundle whose hashes `millstream_runtime.read` has checked.

    With `backend` on that one alone; without, also on the reference where onnx is installed.
    Raises NoBackendOpens, a BackendError for the backend asked for, TensorsInvalid, PlanInvalid.
    """
    golden = load(bundle.members[GOLDEN], bundle.manifest.model)
    verdicts = [_replayed(one, golden) for one in open_all(bundle, asked(bundle, backend))]
    if backend is None and importlib.util.find_spec("onnx"):
        verdicts.insert(0, _reference(bundle, golden))
    return tuple(verdicts)


def _replayed(opened: Opened, golden: Golden) -> Verdict:
    target = opened.target
    if opened.model is None:
        return Verdict(target.name, target.backend, None, why=opened.why)
    verdict = _verdict(target.name, target.backend, opened.model.core, golden, target.tolerance)
    if runs_here(target):
        return verdict
    how = "compiled" if machine.is_kind(target.machine) else "emulated"
    return replace(verdict, why=f"{why_elsewhere(target)}; {how} here to be verified")


def _reference(bundle: Bundle, golden: Golden) -> Verdict:
    from millstream import reference

    spec = bundle.manifest.model
    step = reference.open(bundle.members[STEP], spec)
    core = Core(spec, step, bundle.initial(), bundle.manifest.model_sha256)
    return _verdict("-", "reference", core, golden, REFERENCE_TOLERANCE)


def _verdict(target: str, backend: str, core: Core, golden: Golden, tolerance: Tolerance) -> Verdict:
    result = replay(core, golden, tolerance)
    return Verdict(target, backend, result.passed, result.ticks, result.worst)
