"""All commands as one typer application."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Annotated

import typer

import millstream
from millstream.cli.bench import bench
from millstream.cli.check import check
from millstream.cli.compare import compare
from millstream.cli.deploy import deploy
from millstream.cli.doctor import doctor
from millstream.cli.export import export
from millstream.cli.extract import extract
from millstream.cli.failure import guarded
from millstream.cli.import_ import import_
from millstream.cli.inspect import inspect
from millstream.cli.keygen import keygen
from millstream.cli.models import models
from millstream.cli.profile import profile
from millstream.cli.quantize import quantize
from millstream.cli.report import report
from millstream.cli.run import run
from millstream.cli.targets import targets
from millstream.cli.verify import verify

_EPILOG = (
    "Exit codes: 0 ok, 1 a check failed, 2 usage, 3 a tool is missing, 4 unsupported model, 70 internal. "
    "Every command takes --json and --debug."
)

#: Heading in the help, and the commands under it.
_PANELS = {
    "See what is there": (models, targets, doctor),
    "Make a bundle": (check, export, import_, quantize, keygen),
    "Use a bundle": (inspect, verify, run, bench, profile, report, compare, extract, deploy),
}

#: Groups of commands that another room brings. The toolchain knows them by name only.
_GROUPS = {"Put it on an FPGA": "millstream_hw.cli"}

app = typer.Typer(
    name="millstream",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(_command.__name__.strip("_"), rich_help_panel=_panel)(guarded(_command))

for _panel, _module in _GROUPS.items():
    if importlib.util.find_spec(_module.partition(".")[0]):
        app.add_typer(importlib.import_module(_module).app, rich_help_panel=_panel)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"millstream {millstream.__version__}")
        raise typer.Exit


@app.callback()
def _application(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take a PyTorch sequence model to a device and run it there frame by frame, with the same numbers."""
