"""`millstream check`: what would stop an export, and where."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import typer

from millstream.cli.arguments import Checkpoint, Example, Json, Model, Streamify, Targets, TimeAxis, Window
from millstream.cli.output import console, facts, print_json

if TYPE_CHECKING:
    from millstream.checking import Checked
    from millstream.cli.preparing import Ready


def check(
    model: Model = None,
    target: Targets = None,
    checkpoint: Checkpoint = None,
    example: Example = None,
    streamify: Streamify = False,
    time_axis: TimeAxis = None,
    window: Window = None,
    as_json: Json = False,
) -> None:
    """Say in seconds what would stop an export of MODEL and where; nothing is compiled or written.

    A model's file is a program: it is run.
    """
    from millstream.cli.export_options import resolve

    flags = {
        **{"model": model, "target": target, "checkpoint": checkpoint, "example": example},
        **{"streamify": streamify or None, "time_axis": time_axis, "window": window},
    }
    options = resolve(None, flags)
    with contextlib.redirect_stdout(sys.stderr):
        from millstream import checking
        from millstream.cli.preparing import prepare
        from millstream.ladder import Silent

        ready = prepare(options, Silent())
        found = checking.check(ready.module, ready.example.data, options.target)
    if as_json:
        print_json({"model": ready.name, **ready.provenance, "found": found})
    else:
        _show(ready, found)
    if found.gaps:
        raise typer.Exit(4)


def _show(ready: Ready, found: Checked) -> None:
    out = console()
    made = {name: _words(value) for name, value in ready.provenance.items()}
    kind = "one step a frame" if found.stateful else "one input, one output: it has no step (see --streamify)"
    summary = {
        "model": ready.name,
        "kind": kind,
        **made,
        "states": ", ".join(f"{name} {shape}" for name, shape in found.states.items()),
        "bytes of state": found.state_bytes,
        "look-ahead": found.look_ahead,
        "nodes": found.nodes,
        "one stream at a time": found.fixed_batch_reason,
    }
    out.print(facts(summary))
    for name, gaps in found.gaps.items():
        out.print(f"{name} cannot run:")
        for gap in gaps:
            out.print(f"  - {gap}")
    if not found.gaps:
        out.print("nothing stands in the way of an export; the export proves the numbers")


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items()) or "a frame in, a frame out"
    return str(value)
