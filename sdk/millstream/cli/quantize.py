"""`millstream quantize`: an export whose products are quantized as far as a budget allows."""

from __future__ import annotations

from typing import Annotated

import typer

from millstream.cli.arguments import Json, States

#: Where neither the flag nor the file says what may be lost: half a point.
_DEFAULT = {"most_lost": 0.005}


def quantize(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="package.module:factory, file.py:factory, or a reference model's name."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="LOSS",
            help="Accuracy that may be lost; without labels, relative error of the outputs. Default 0.5%.",
        ),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            metavar="F",
            help="A format to try, the smallest first. Without: w4a8, w8a8. fixed16, alone, is narrowed.",
        ),
    ] = None,
    states: States = None,
    trials: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Keep what was measured there; a search that was broken off goes on."
        ),
    ] = None,
    example: Annotated[str | None, typer.Option(metavar="DATA", help="Real frames, as for export.")] = None,
    labelled: Annotated[
        str | None, typer.Option(metavar="DATA", help="An .npz with x and labels y (N,).")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="A target; repeat it for more. Without: cpu and numba."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="PATH", help="Without: NAME.mill.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="TOML", help=r"Further options under \[export], as for export.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Export MODEL with each product in the smallest format that a loss allows.

    With --format fixed16 it is the widths of all values and constants that are searched.
    Every product is tried alone in every format, then as many as possible together, on the real metric.
    Nothing is written when no mix stays within the budget; the closest is named.
    """
    from millstream.cli.export import make
    from millstream.cli.export_options import resolve

    flags = {
        **{"model": model, "most_lost": budget, "formats": format, "states": states, "trials": trials},
        **{"example": example, "labelled": labelled, "target": target, "output": output},
    }
    options = resolve(config, flags)
    make(options if options.most_lost is not None else options.model_copy(update=_DEFAULT), as_json)
