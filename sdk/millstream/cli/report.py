"""`millstream report`: everything about a bundle on one page, and the same figures as JSON."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

import millstream_runtime
from millstream.cli.arguments import BundlePath, Json
from millstream.cli.output import console, facts, print_json
from millstream_runtime.bundle import Bundle

if TYPE_CHECKING:
    from millstream.report import Labelled


def report(
    bundle: BundlePath,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PAGE.html", help="Without: NAME.html, unless --json."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="How many steps are timed.")] = 2000,
    ticks: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many ticks the states are watched.")
    ] = 1000,
    labelled: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="An .npz with x and y. Without: a reference model's own test split."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Gather what the export proved, measure the rest here, and write one page that needs no network.

    A page that stands there is replaced, when all figures are known.
    """
    from millstream.report import Effort
    from millstream.report import report as gather
    from millstream.report.page import page
    from millstream.writing import replace

    read = millstream_runtime.read(bundle)
    found = gather(read, Effort(steps, ticks), labelled=_labelled(read, labelled))
    path = output or (None if as_json else f"{found.model}.html")
    if path:
        replace(path, page(found).encode())
    if as_json:
        print_json(found)
    else:
        console().print(facts({"page": path, "bytes": os.path.getsize(path or "")}))


def _labelled(bundle: Bundle, path: str | None) -> Labelled | None:
    """The labelled data that is named, else what the export of a reference model took."""
    from millstream.report import Labelled

    options = bundle.manifest.options
    name = str(options.get("model", ""))
    if path is None and "labelled" not in options:
        return None
    from millstream.cli.export_data import read_labelled
    from millstream.cli.export_options import ExportOptions
    from millstream_models import CATALOGUE

    reference = next((model for model in CATALOGUE if model.name == name), None)
    if path is None and not (reference and reference.dataset):
        return None
    found = read_labelled(ExportOptions(model=name or "-", labelled=path), reference)
    return Labelled(found.data, found.origin) if found else None
