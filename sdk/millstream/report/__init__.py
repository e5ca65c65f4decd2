"""Everything that is known or can be measured of a bundle, as figures; `page` shows them.

What the export proved is read from the bundle; times, drift and predictions are measured here, on the golden
frames and on labelled data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import millstream
from millstream import reference
from millstream.budget import flash, ram
from millstream.errors import UsageError
from millstream.object_files import code_bytes
from millstream.opening import asked, open_all
from millstream.report.confusion import Confusion, confusion
from millstream.report.drift import Drift, drifts
from millstream.report.latency import Latency, latencies
from millstream.report.rooms import Room, rooms
from millstream.sequences import Sequences
from millstream.whereabouts import runs_here
from millstream_runtime import machine, strict_json
from millstream_runtime.backends import has_backend
from millstream_runtime.bundle import Bundle
from millstream_runtime.core import Core
from millstream_runtime.golden import load
from millstream_runtime.spec import GOLDEN, REPORT, STEP, Machine, Memory, TargetSpec


@dataclass(frozen=True)
class Effort:
    """How many steps are timed for each backend, and how many ticks the states are watched."""

    steps: int = 2000
    ticks: int = 1000


@dataclass(frozen=True)
class Labelled:
    """Labelled sequences, and in words where they come from."""

    data: Sequences
    origin: str


@dataclass(frozen=True)
class TargetFigures:
    """One target: bytes of its files in the bundle and of the code in them, of the constants and code that
    lie in flash, and of RAM for one stream; `why` says why it did not open here, if it did not."""

    target: str
    backend: str
    machine: Machine
    file_bytes: int
    code_bytes: int
    flash_bytes: int
    ram_bytes: int
    memory: Memory
    why: str


@dataclass(frozen=True)
class Report:
    """The figures. `ladder`, `quantization`, `states` and `search` are what the export stored in the bundle,
    as plain JSON; `confusion` is None without labels."""

    path: str
    model: str
    identity: str
    producer: str
    here: str
    bundle_bytes: int
    ladder: tuple[dict[str, Any], ...]
    rooms: tuple[Room, ...]
    latencies: tuple[Latency, ...]
    drifts: tuple[Drift, ...]
    quantization: dict[str, Any] | None
    states: dict[str, Any] | None
    search: dict[str, Any] | None
    confusion: Confusion | None
    targets: tuple[TargetFigures, ...]


def report(
    bundle: Bundle,
    effort: Effort = Effort(),
    *,
    labelled: Labelled | None = None,
) -> Report:
    """Gather and measure the figures of a verified bundle.

    Args:
        labelled: sequences with labels, for the confusion matrix of the first backend that runs here.

    Raises NoBackendOpens, BatchFixed, TensorsInvalid, UsageError, DataInvalid.
    """
    manifest = bundle.manifest
    golden = load(bundle.members[GOLDEN], manifest.model)
    opened = open_all(bundle, asked(bundle, None))
    models = [one.model for one in opened if one.model is not None]
    nearest = min(models, key=lambda model: not runs_here(model.target))
    step = reference.open(bundle.members[STEP], manifest.model)
    core = Core(manifest.model, step, bundle.initial(), manifest.model_sha256)
    stored = _stored(bundle)
    return Report(
        path=bundle.path,
        model=manifest.model.name,
        identity=manifest.model_sha256,
        producer=manifest.producer,
        here=f"{machine.cpu_name() or machine.here().arch}, Millstream {millstream.__version__}",
        bundle_bytes=sum(member.size for member in manifest.members.values()),
        ladder=tuple(stored.get("ladder", ())),
        rooms=rooms(bundle),
        latencies=latencies(opened, golden, effort.steps),
        drifts=drifts(models, core, golden, effort.ticks),
        quantization=stored.get("quantization"),
        states=stored.get("states"),
        search=stored.get("search"),
        confusion=confusion(nearest, labelled.data, labelled.origin) if labelled else None,
        targets=tuple(_target(bundle, one.target, one.why) for one in opened),
    )


def _stored(bundle: Bundle) -> dict[str, Any]:
    """The report of the export. Raises UsageError."""
    try:
        stored = strict_json.loads(bundle.members[REPORT])
    except ValueError as error:
        raise UsageError("the report is no JSON", where=REPORT, why=str(error)) from error
    if not isinstance(stored, dict):
        raise UsageError("the report is no JSON object", where=REPORT)
    return stored


def _target(bundle: Bundle, target: TargetSpec, why: str) -> TargetFigures:
    code = 0 if has_backend(target.backend) else code_bytes(bundle.files(target))
    return TargetFigures(
        target=target.name,
        backend=target.backend,
        machine=target.machine,
        file_bytes=sum(bundle.manifest.members[name].size for name in target.files),
        code_bytes=code,
        flash_bytes=flash(target.memory, code),
        ram_bytes=ram(target.memory),
        memory=target.memory,
        why=why,
    )
