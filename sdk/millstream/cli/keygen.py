"""`millstream keygen`: a key to sign bundles with."""

from __future__ import annotations

from typing import Annotated

import typer

from millstream.cli.arguments import Json
from millstream.cli.output import console, facts, print_json


def keygen(
    path: Annotated[
        str, typer.Argument(metavar="KEY.PEM", help="Where the new key goes; never over a file.")
    ],
    as_json: Json = False,
) -> None:
    """Make an Ed25519 key to sign bundles with; readable by you alone."""
    from millstream.signing import generate

    shown = {"private key": path, "public key": generate(path).public_key}
    if as_json:
        print_json({name.replace(" ", "_"): value for name, value in shown.items()})
        return
    out = console()
    out.print(facts(shown))
    out.print(f"sign:  millstream export ... --sign {path}")
    out.print(f"check: millstream verify ... --trusted-key {shown['public key']}")
