"""Whatever goes wrong: one message on standard error, one exit code, and never a bare traceback."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner, Result

from millstream.cli.failure import guarded
from millstream.errors import ProofFailed, ToolMissing, UnsupportedOperators, UsageError


def run_raising(error: Exception, *arguments: str) -> Result:
    """A command that raises `error`, guarded as all commands are."""
    app = typer.Typer()

    def fail(as_json: bool = False) -> None:
        raise error

    app.command()(guarded(fail))
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProofFailed("a rung broke"), 1),
        (UsageError("no such thing"), 2),
        (ToolMissing("no compiler"), 3),
        (UnsupportedOperators("no Sort"), 4),
        (ZeroDivisionError("one by zero"), 70),
    ],
)
def test_exit_codes(error, code):
    result = run_raising(error)
    assert result.exit_code == code
    assert str(error) in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_what_where_why_and_fix_are_told_in_text_and_in_json():
    error = UsageError("no frames", where="data.npz", why="x is empty", fix="record some")
    result = run_raising(error, "--as-json")
    assert result.stderr == "error: no frames (data.npz): x is empty\n  to fix: record some\n"
    told = {"kind": "UsageError", "what": "no frames", "where": "data.npz", "why": "x is empty"}
    assert json.loads(result.stdout) == {"error": {**told, "fix": "record some"}, "exit_code": 2}


def test_an_internal_error_hints_at_debug_and_debug_shows_the_traceback():
    assert "--debug" in run_raising(ZeroDivisionError("one by zero")).stderr
    result = run_raising(ZeroDivisionError("one by zero"), "--debug")
    assert result.exit_code == 70
    assert "Traceback" in result.stderr
    assert "raise error" in result.stderr


def test_an_internal_error_is_told_in_json_too():
    document = json.loads(run_raising(ZeroDivisionError("one by zero"), "--as-json").stdout)
    assert document["error"]["kind"] == "ZeroDivisionError"
    assert document["exit_code"] == 70


def test_a_package_that_is_not_installed_is_a_missing_tool():
    result = run_raising(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert result.exit_code == 3
    assert "pip install 'millstream[export]'" in result.stderr


def test_a_module_that_is_not_ours_is_no_missing_tool():
    assert run_raising(ModuleNotFoundError("No module named 'x'", name="x")).exit_code == 70


def test_a_command_may_end_itself():
    assert run_raising(typer.Exit(5)).exit_code == 5
