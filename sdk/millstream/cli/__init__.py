"""The command line: one file per command, put together in `app`."""

from __future__ import annotations

import importlib.util
import sys


def main() -> None:
    """Run the command that `sys.argv` asks for and exit with its code (see `failure`)."""
    if not all(importlib.util.find_spec(name) for name in ("typer", "rich")):
        sys.stderr.write("error: the command line needs typer and rich\n")
        sys.stderr.write("  to fix: pip install 'millstream[export]'\n")
        sys.exit(3)
    from millstream.cli.app import app

    app()
