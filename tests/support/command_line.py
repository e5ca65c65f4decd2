"""What the fixture `millstream` gives to the tests of the command line."""

from __future__ import annotations

from collections.abc import Callable

from typer.testing import Result

#: Runs the command line in this process: `millstream("inspect", path)`.
Command = Callable[..., Result]
