"""`millstream verify`: hashes, then the golden frames on every backend that opens here."""

from __future__ import annotations

from typing import Annotated

import typer

import millstream_runtime
from millstream.cli.arguments import Backend, BundlePath, Json
from millstream.cli.output import FAILED, OK, console, print_json, table
from millstream.verify import Verdict
from millstream.verify import verify as replay_all
from millstream_runtime.bundle import Bundle


def verify(
    bundle: BundlePath,
    backend: Backend = None,
    trusted_key: Annotated[
        list[str] | None,
        typer.Option(metavar="HEX", help="Ask for a signature by this public key; repeat it for more."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every hash, then replay the golden frames on every backend that opens here."""
    read = millstream_runtime.read(bundle, trusted_keys=trusted_key or None)
    verdicts = replay_all(read, backend)
    passed = all(verdict.passed is not False for verdict in verdicts)
    if as_json:
        members = len(read.manifest.members)
        print_json({"members": members, "signed": bool(trusted_key), "passed": passed, "backends": verdicts})
    else:
        _show(read, bool(trusted_key), verdicts)
    if not passed:
        raise typer.Exit(1)


def _show(bundle: Bundle, signed: bool, verdicts: tuple[Verdict, ...]) -> None:
    out = console()
    members = f"{len(bundle.manifest.members)} members are what the manifest promises"
    out.print(members + (", signed by a trusted key" if signed else ""))
    columns = ("backend", "target", "golden frames", "largest difference", "allowed", "remark")
    out.print(table(columns, map(_row, verdicts)))


def _row(verdict: Verdict) -> tuple[object, ...]:
    worst = verdict.worst
    if verdict.passed is None or worst is None:
        return verdict.backend, verdict.target, "not here", "", "", verdict.why
    mark = OK if verdict.passed else FAILED
    remark = "; ".join(
        filter(None, (f"{verdict.ticks} ticks", f"nearest to its bound: {worst.name}", verdict.why))
    )
    return verdict.backend, verdict.target, mark, f"{worst.largest:.1e}", f"{worst.bound:.1e}", remark
