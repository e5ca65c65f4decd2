"""`millstream deploy`: a bundle to one or several devices, proved there before it takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

import millstream_runtime
from millstream.cli.arguments import BundlePath, Json
from millstream.cli.output import FAILED, OK, console, facts, print_json, table
from millstream.errors import UsageError
from millstream_runtime.errors import MillstreamError

if TYPE_CHECKING:
    from millstream.deploy.deploying import Deployed
    from millstream.deploy.fleet import Outcome, Placed


def deploy(
    bundle: BundlePath,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="ssh://user@host:22 or adb:SERIAL; repeat it for more."),
    ] = None,
    devices: Annotated[
        str | None, typer.Option(metavar="TOML", help="A file of devices: see docs/deploy.md.")
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Send nothing: restore the version before the present one.")
    ] = False,
    no_python: Annotated[
        bool, typer.Option("--no-python", help="Send a static program, for a device without Python.")
    ] = False,
    with_numpy: Annotated[
        bool, typer.Option("--with-numpy", help="Carry a wheel of NumPy, for a device without it.")
    ] = False,
    python: Annotated[str, typer.Option(metavar="PATH", help="The device's Python.")] = "python3",
    folder: Annotated[
        str, typer.Option(metavar="PATH", help="Where it lies on the device. Without: millstream/NAME.")
    ] = "",
    ssh_config: Annotated[
        str, typer.Option(metavar="FILE", help="For ssh -F. Without: your own configuration.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Copy BUNDLE to devices, verify and time it there, and put it in place where it is right.

    A device that fails keeps the version that it had, and the others go on.
    """
    from millstream.deploy.building import Workshop
    from millstream.deploy.deploying import Wanted, folder_of
    from millstream.deploy.deploying import deploy as send
    from millstream.deploy.deploying import rollback as restore
    from millstream.deploy.fleet import on_all

    wanted = Wanted(python, folder, no_python, with_numpy)
    placed = _devices(device or (), devices, ssh_config, wanted)
    workshop = Workshop(millstream_runtime.read(bundle))
    if rollback:
        restored = on_all(
            placed, lambda one: restore(one.connection, folder_of(one.connection, workshop, one.wanted))
        )
        _report(restored, as_json, lambda version: {"version": version}, _restored)
        return
    sent = on_all(placed, lambda one: send(one.connection, workshop, one.wanted))
    _report(sent, as_json, asdict, _deployed)


def _devices(addresses: Sequence[str], file: str | None, ssh_config: str, wanted: Any) -> tuple[Placed, ...]:
    from millstream.deploy.address import connect
    from millstream.deploy.fleet import Placed, read_fleet

    if bool(addresses) == bool(file):
        raise UsageError("which devices?", fix="give --device ADDRESS, or --devices TOML, one of the two")
    if file:
        return read_fleet(file, ssh_config)
    return tuple(Placed(address, connect(address, ssh_config), wanted) for address in addresses)


def _report(outcomes: Sequence[Outcome[Any]], as_json: bool, document: Any, show: Any) -> None:
    """Say what came of each device. One that fails alone is an error like any; of several the exit code is
    theirs when they agree, else 1."""
    errors = [outcome.error for outcome in outcomes if outcome.error]
    if len(outcomes) == 1 and errors:
        raise errors[0]
    if as_json:
        entries = [
            {"name": one.placed.name, "error": _told(one.error)}
            if one.error
            else {"name": one.placed.name, **document(one.result)}
            for one in outcomes
        ]
        print_json({"devices": entries, "passed": not errors})
    else:
        show(outcomes)
    if errors:
        codes = {error.exit_code for error in errors}
        raise typer.Exit(codes.pop() if len(codes) == 1 else 1)


def _told(error: MillstreamError) -> dict[str, str]:
    details = {"what": error.what, "where": error.where, "why": error.why, "fix": error.fix}
    return {"kind": type(error).__name__, **details}


def _deployed(outcomes: Sequence[Outcome[Deployed]]) -> None:
    out = console()
    if len(outcomes) == 1 and (only := outcomes[0].result):
        out.print(facts(_facts(only)))
        return
    columns = (
        *("device", "golden frames", "target", "machine", "off by", "allowed"),
        *("us median", "us p99", "sent B", "remark"),
    )
    out.print(table(columns, map(_row, outcomes)))


def _facts(found: Deployed) -> dict[str, object]:
    return {
        "device": found.device,
        "machine": found.machine,
        "target": found.target,
        "golden frames": f"ok: {found.worst} off by {found.largest:.1e} of {found.bound:.1e}",
        "speed": f"{found.median_us:.1f} us per step, p99 {found.p99_us:.1f} us",
        "sent": f"{found.sent:,} bytes, {found.seconds:.1f} s in all",
        "version": found.version,
        "note": "; ".join(found.notes),
        "run it there": f"{found.folder}/run < frames > outputs",
    }


def _row(outcome: Outcome[Deployed]) -> tuple[object, ...]:
    found, error = outcome.result, outcome.error
    if found is None or error:
        return outcome.placed.name, FAILED, *("",) * 7, _remark(error)
    return (
        *(outcome.placed.name, OK, found.target, found.machine),
        *(f"{found.largest:.1e}", f"{found.bound:.1e}", f"{found.median_us:.1f}", f"{found.p99_us:.1f}"),
        *(found.sent, "; ".join(found.notes)),
    )


def _restored(outcomes: Sequence[Outcome[str]]) -> None:
    rows = (
        (one.placed.name, FAILED if one.error else OK, one.result or "", _remark(one.error))
        for one in outcomes
    )
    console().print(table(("device", "rolled back", "version", "remark"), rows))


def _remark(error: MillstreamError | None) -> str:
    return ": ".join(filter(None, (error.what, error.why))) if error else ""
