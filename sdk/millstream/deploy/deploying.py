"""One bundle to one device: asked, sent, proved there, and put in place at the very end."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from millstream.deploy import choosing, scripts
from millstream.deploy.building import Build, Workshop
from millstream.deploy.connection import Connection, checked, failure
from millstream.deploy.errors import (
    DeployError,
    DeviceFull,
    DeviceProofFailed,
    NothingToRollBack,
    TransferBroken,
)
from millstream.deploy.executable import static_program
from millstream.deploy.payload import Payload
from millstream.deploy.probe import Device, check_python, probe
from millstream.deploy.wheels import numpy_wheel, runtime_wheel, unpacked
from millstream.targets.c import golden as structs
from millstream.targets.c.names import identifier
from millstream_runtime import golden
from millstream_runtime.replay import worst
from millstream_runtime.spec import GOLDEN

#: What the file system needs beside the files themselves.
_MARGIN_BYTES = 2**18
_STEPS = 2000


@dataclass(frozen=True)
class Wanted:
    """How a device shall be served: with which Python or with a static program, in which folder (empty: one
    named after the model), and whether NumPy is carried there."""

    python: str = "python3"
    folder: str = ""
    no_python: bool = False
    with_numpy: bool = False


@dataclass(frozen=True)
class Deployed:
    """What came of a deployment. Times are microseconds per step on the device; `largest` and `bound` are of
    the tensor that comes nearest to its bound there. `sent` is in bytes, `seconds` is all of it."""

    device: str
    folder: str
    version: str
    target: str
    machine: str
    worst: str
    largest: float
    bound: float
    median_us: float
    p99_us: float
    sent: int
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Proof:
    """What the device said of the step."""

    target: str
    worst: str
    largest: float
    bound: float
    median_us: float
    p99_us: float


#: Proves what has arrived under an id on the device. Raises DeviceProofFailed.
_Prove = Callable[[str], _Proof]


def deploy(connection: Connection, workshop: Workshop, wanted: Wanted) -> Deployed:
    """Check the device, send the bundle and what goes with it, prove and time it there, put it in place.

    Until the last moment everything lies beside what was there before; whatever fails, that stays and runs.
    Raises a DeployError, and as `Workshop.build` does.
    """
    began = time.monotonic()
    folder = folder_of(connection, workshop, wanted)
    device = probe(connection, wanted.python, folder)
    prepare = _without_python if wanted.no_python else _with_python
    build, payload, unpacked_bytes, prove = prepare(connection, workshop, wanted, folder, device)
    archive = payload.archive()
    _check_room(connection, device, payload.size + unpacked_bytes + _MARGIN_BYTES)
    try:
        _send(connection, folder, payload, archive, wanted.python)
        proof = prove(payload.id)
    except DeployError:
        with contextlib.suppress(DeployError):  # what failed may be the connection itself
            connection.run(scripts.DISCARD, folder, payload.id)
        raise
    found = Deployed(
        **asdict(proof),
        device=connection.name,
        folder=folder,
        version=payload.id,
        machine=f"{device.machine.system} {device.machine.arch}",
        sent=len(archive),
        seconds=time.monotonic() - began,
        notes=_notes(workshop, build),
    )
    _put_in_place(connection, folder, found)
    return replace(found, seconds=time.monotonic() - began)


def rollback(connection: Connection, folder: str) -> str:
    """Change places with the version before; its id. Raises NothingToRollBack, a DeployError."""
    done = connection.run(scripts.ROLLBACK, folder)
    if done.code == scripts.NOTHING_BEFORE:
        raise NothingToRollBack(
            "the device has no version before the present one", where=f"{connection.name}, {folder}"
        )
    if done.code:
        raise failure(connection, "it was rolled back", done)
    return done.output.decode()


def folder_of(connection: Connection, workshop: Workshop, wanted: Wanted) -> str:
    """Where the deployment lies on the device."""
    name = identifier(workshop.bundle.manifest.model.name)
    return wanted.folder or f"{connection.home}millstream/{name}"


def _with_python(
    connection: Connection, workshop: Workshop, wanted: Wanted, folder: str, device: Device
) -> tuple[Build, Payload, int, _Prove]:
    check_python(device, connection.name, wanted.python, wanted.with_numpy)
    name = choosing.with_python(device, workshop.bundle.manifest.targets, connection.name)
    build = workshop.build(name)
    wheels = [runtime_wheel()]
    if wanted.with_numpy:
        wheels.append(numpy_wheel(device.machine, device.python))
    run = scripts.RUN_PYTHON.format(python=shlex.quote(wanted.python))
    files = {"model.mill": build.bundle, "run": run.encode()}
    payload = Payload(files | {f"wheels/{wheel}": data for wheel, data in wheels})

    def prove(version: str) -> _Proof:
        done = connection.run(scripts.TRIAL, folder, version, wanted.python, str(_STEPS))
        report = _report(done.output)
        if done.code or report is None:
            raise _refuted(connection, report, done.errors)
        return _proof(report)

    return build, payload, sum(unpacked(data) for _, data in wheels), prove


def _without_python(
    connection: Connection, workshop: Workshop, wanted: Wanted, folder: str, device: Device
) -> tuple[Build, Payload, int, _Prove]:
    name = choosing.without_python(device, workshop.bundle.manifest.targets, connection.name)
    build, bundle = workshop.build(name), workshop.bundle
    spec = bundle.manifest.model
    program = static_program(build.files, spec, device.machine.arch)
    payload = Payload({"step": program, "run": scripts.RUN_PROGRAM.encode()})
    sequence = golden.load(bundle.members[GOLDEN], spec)

    def run(version: str, *arguments: str) -> bytes:
        given = structs.input_structs(spec, sequence)
        done = connection.run(scripts.PROGRAM, folder, version, *arguments, given=given)
        if done.code:
            raise _refuted(connection, None, done.errors or f"exit code {done.code} and no message")
        return done.output

    def prove(version: str) -> _Proof:
        results = run(version, "--structs")
        if len(results) != structs.result_bytes(spec, sequence):
            raise _refuted(connection, None, f"{len(results)} bytes of results")
        found = structs.differences(spec, sequence, results, build.target.tolerance)
        nearest = worst(found)
        if not nearest.within:
            raise _refuted(
                connection, None, f"{nearest.name}: off by {nearest.largest:.2e} of {nearest.bound:.2e}"
            )
        median, p99 = (int(word) / 1e3 for word in run(version, "--time", str(_STEPS)).split())
        return _Proof(name, nearest.name, nearest.largest, nearest.bound, median, p99)

    return build, payload, 0, prove


def _check_room(connection: Connection, device: Device, needed: int) -> None:
    if device.free < needed:
        raise DeviceFull(
            "no room on the device",
            where=connection.name,
            why=f"{needed:,} bytes are needed and {device.free:,} are free; nothing was sent",
            fix="make room there",
        )


def _send(connection: Connection, folder: str, payload: Payload, archive: bytes, python: str) -> None:
    done = connection.run(scripts.RECEIVE, folder, payload.id, payload.sha256, python, given=archive)
    if done.code == scripts.DAMAGED:
        raise TransferBroken(
            "what came to the device is not what was sent",
            where=connection.name,
            why="a hash differs or a file lacks",
            fix="deploy again; the version that was there is unchanged",
        )
    if done.code:
        raise failure(connection, "the bundle was sent", done)


def _put_in_place(connection: Connection, folder: str, found: Deployed) -> None:
    """The last step. When the connection ends within it, the device is asked how it ended."""
    report = json.dumps(asdict(found), sort_keys=True)
    try:
        checked(
            *(connection, "the version was put in place", scripts.ACTIVATE),
            *(folder, found.version, report, scripts.RUN),
        )
    except TransferBroken:
        if connection.run(scripts.CURRENT, folder).output.decode() != found.version:
            raise


def _report(output: bytes) -> dict[str, Any] | None:
    """The document that the trial printed, or None when it printed none."""
    try:
        report = json.loads(output)
    except ValueError:
        return None
    return report if isinstance(report, dict) else None


def _proof(report: dict[str, Any]) -> _Proof:
    chosen = next(one for one in report["targets"] if one["target"] == report["chosen"])
    nearest = chosen["worst"]
    return _Proof(
        *(report["chosen"], nearest["name"], nearest["largest"], nearest["bound"]),
        *(report["median_us"], report["p99_us"]),
    )


def _refuted(connection: Connection, report: dict[str, Any] | None, errors: str) -> DeviceProofFailed:
    """Every target that gives other numbers, or what the device said."""
    wrong = [one for one in (report or {}).get("targets", ()) if one["passed"] is False]
    lines = [f"{one['target']}: {one['worst']['name']} is off by {_gap(one['worst'])}" for one in wrong]
    return DeviceProofFailed(
        "the golden frames do not give their numbers on the device",
        where=connection.name,
        why="; ".join(lines) or errors.strip(),
        fix="the version that was there is unchanged",
    )


def _gap(difference: dict[str, Any]) -> str:
    largest = difference["largest"]
    return f"{'infinity' if largest is None else f'{largest:.2e}'} of {difference['bound']:.2e}"


def _notes(workshop: Workshop, build: Build) -> tuple[str, ...]:
    bundle = workshop.bundle
    if any(target.name == build.target.name for target in bundle.manifest.targets):
        return ()
    unsigned = ", so that the bundle's signature does not cover it" if bundle.signature else ""
    return (f"{build.target.name} was built now{unsigned}",)
