"""`millstream targets`: what can be compiled for, and what is missing here."""

from __future__ import annotations

from millstream.cli.arguments import Json
from millstream.cli.output import console, print_json, table


def targets(as_json: Json = False) -> None:
    """List the targets, and what each lacks on this machine."""
    from millstream.targets import TARGETS, missing

    lacking = {target: missing(target) for target in TARGETS.values()}
    if as_json:
        fields = ("name", "backend", "summary")
        rows = [{f: getattr(t, f) for f in fields} | {"missing": lines} for t, lines in lacking.items()]
        print_json({"targets": rows})
        return
    rows = ((t.name, t.backend, "; ".join(lines) or "ready", t.summary) for t, lines in lacking.items())
    console().print(table(("target", "backend", "missing here", "what it is for"), rows))
