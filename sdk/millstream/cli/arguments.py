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
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
