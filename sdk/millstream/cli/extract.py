"""`millstream extract`: the files of one target, such as the C sources, out of a bundle."""

from __future__ import annotations

from typing import Annotated

import typer

import millstream_runtime
from millstream.cli.arguments import BundlePath, Json
from millstream.cli.output import console, print_json


def extract(
    bundle: BundlePath,
    target: Annotated[str, typer.Option(metavar="T", help="The target whose files are wanted.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="Made where it lacks.")],
    force: Annotated[bool, typer.Option("--force", help="Replace files of the same names.")] = False,
    as_json: Json = False,
) -> None:
    """Check every hash, then write the files of a target into FOLDER."""
    from millstream.extracting import extract as write_files

    written = write_files(millstream_runtime.read(bundle), target, output, overwrite=force)
    if as_json:
        print_json({"files": written})
        return
    for path in written:
        console().print(path)
