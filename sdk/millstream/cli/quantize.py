"""`millstream quantize`: an export whose products are quantized as far as a budget allows."""

from __future__ import annotations

from typing import Annotated

import typer

from millstream.cli.arguments import (
    Checkpoint,
    Config,
    Example,
    Json,
    Labelled,
    Model,
    Output,
    StateDtypes,
    States,
    Streamify,
    Targets,
    TimeAxis,
    Window,
)

#: Where neither the flag nor the file says what may be lost: half a point.
_DEFAULT = {"most_lost": 0.005}


def quantize(
    model: Model = None,
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
    state_dtype: StateDtypes = None,
    trials: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Keep what was measured there; a search that was broken off goes on."
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    example: Example = None,
    streamify: Streamify = False,
    time_axis: TimeAxis = None,
    window: Window = None,
    labelled: Labelled = None,
    target: Targets = None,
    output: Output = None,
    config: Config = None,
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
        **{"model": model, "most_lost": budget, "formats": format, "trials": trials},
        **{"states": states, "state_dtype": state_dtype},
        **{"checkpoint": checkpoint, "example": example, "labelled": labelled, "target": target},
        **{"streamify": streamify or None, "time_axis": time_axis, "window": window, "output": output},
    }
    options = resolve(config, flags)
    make(options if options.most_lost is not None else options.model_copy(update=_DEFAULT), as_json)
