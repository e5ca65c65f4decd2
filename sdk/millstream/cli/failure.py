"""How a command fails: one message on standard error and an exit code, whatever was raised.

Exit codes: 1 a check failed, 2 usage, 3 a tool is missing, 4 unsupported model, 70 internal. A command
that was interrupted exits with 130. With `--json` standard output gets the error as a document of its own.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from millstream.cli.arguments import Debug
from millstream.cli.output import json_line
from millstream.cli.requirements import install_line
from millstream.errors import ToolMissing
from millstream_runtime.errors import MillstreamError

INTERNAL = 70


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option `--debug`; what it raises becomes a message and an exit code.

    A reader that closes the pipe has seen enough: that is no failure.
    """

    @functools.wraps(command)
    def run(*, debug: bool, **options: Any) -> None:
        try:
            command(**options)
        except (typer.Exit, typer.BadParameter):
            raise
        except BrokenPipeError:
            _forget_output()
        except Exception as error:
            if debug:
                traceback.print_exc()
            raise typer.Exit(_report(error, bool(options.get("as_json")))) from error

    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
    # typer reads the options of a command from its signature.
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    return run


def _report(error: Exception, as_json: bool) -> int:
    """Say what went wrong; the exit code."""
    known = _known(error)
    if as_json:
        print(json_line(_document(error, known)))
    if known is None:
        sys.stderr.write(f"internal error: {type(error).__name__}: {error}\n")
        sys.stderr.write("  to fix: run it again with --debug and report the traceback\n")
        return INTERNAL
    sys.stderr.write(f"error: {known}\n")
    return known.exit_code


def _known(error: Exception) -> MillstreamError | None:
    """The error in our words, or None when it is a bug of ours."""
    if isinstance(error, MillstreamError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name and install_line(error.name):
        return ToolMissing(f"{error.name} is not installed", fix=install_line(error.name))
    return None


def _document(error: Exception, known: MillstreamError | None) -> dict[str, Any]:
    shown = known or MillstreamError(str(error))
    details = {"what": shown.what, "where": shown.where, "why": shown.why, "fix": shown.fix}
    return {"error": {"kind": type(known or error).__name__, **details}, "exit_code": shown.exit_code}


def _forget_output() -> None:
    """Let what Python still wants to write at exit go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
