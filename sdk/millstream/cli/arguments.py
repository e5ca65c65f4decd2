"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

BundlePath = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="A .mill file, or the same tree as a folder.")
]
Backend = Annotated[
    str | None, typer.Option(metavar="NAME", help="This backend alone: tvm, numba or onnxruntime.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="package.module:NAME or file.py:NAME of a factory or module, hf:FOLDER, hf:file.py:NAME, or a "
        "reference model.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(metavar="T", help="A target; repeat it for more. Without: cpu and numba."),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="PATH", help="Without: NAME.mill. A folder if it ends with /."),
]
Labelled = Annotated[
    str | None,
    typer.Option(metavar="DATA", help="An .npz with x and labels y (N,) or (N, T)."),
]
Config = Annotated[
    str | None,
    typer.Option(metavar="TOML", help=r"Options under \[export], named as the flags of export are."),
]
Checkpoint = Annotated[
    str | None, typer.Option(metavar="FILE", help="Weights, .safetensors with every name of the module.")
]
Example = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="Real frames: an .npz with x (N, T, ...); or noise:TxA, sizes of what forward takes.",
    ),
]
Streamify = Annotated[
    bool, typer.Option("--streamify", help="Make a module for whole sequences step: see docs/streaming.md.")
]
TimeAxis = Annotated[
    int | None,
    typer.Option(metavar="AXIS", help="Where forward has time; 2 for (N, channels, T). Without: 1."),
]
Window = Annotated[
    int | None, typer.Option(metavar="N", help="Frames that attention keeps which would see all before.")
]
States = Annotated[
    str | None,
    typer.Option(
        metavar="DRIFT",
        help="Keep each state in the smallest dtype with which nothing drifts farther from float32 "
        "(relative RMS), such as 2%. Without: float32.",
    ),
]
StateDtypes = Annotated[
    list[str] | None,
    typer.Option(
        "--state-dtype",
        metavar="D",
        help="A dtype that states may be kept in: float16, int8, int16. Without: all three.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
