"""`millstream doctor`: what is installed, what is not, and the exact line that installs it."""

from __future__ import annotations

import importlib
import os
import platform
from dataclasses import dataclass
from typing import Annotated

import typer

from millstream.cli.arguments import Json
from millstream.cli.output import console, facts, print_json, table
from millstream.cli.requirements import Requirement, requirements
from millstream.linker import INSTALL, linker
from millstream_runtime import machine
from millstream_runtime.cache_folder import cache_folder

#: A feature line of a modern CPU is longer than a screen; these decide how fast float32 runs.
_TELLING = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "asimd", "asimddp", "sve", "v")


@dataclass(frozen=True)
class Surroundings:
    """What is no package. `compiler` is the path of the C compiler that links the cpu target, or empty."""

    python: str
    system: str
    architecture: str
    cpu: str
    features: tuple[str, ...]
    compiler: str
    cache: str
    cache_writable: bool


def doctor(
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when something is missing.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is installed, what is not, and the line that installs it."""
    here = surroundings()
    packages = requirements()
    if as_json:
        entries = [_entry(package) for package in packages]
        print_json({"surroundings": here, "packages": entries, "fpga tools": fpga_tools()})
    else:
        _show(here, packages)
    if strict and not (here.compiler and all(package.installed for package in packages)):
        raise typer.Exit(3)


def surroundings() -> Surroundings:
    """Look around."""
    this = machine.here()
    cache = cache_folder()
    nearest = next(place for place in (cache, *cache.parents) if place.exists())
    return Surroundings(
        python=platform.python_version(),
        system=this.system,
        architecture=this.arch,
        cpu=machine.cpu_name(),
        features=this.features,
        compiler=linker(),
        cache=str(cache),
        cache_writable=os.access(nearest, os.W_OK),
    )


def fpga_tools() -> dict[str, dict[str, str]]:
    """Programs that make circuits: `path`, and the `fix` for what is missing. `--strict` asks for none.

    They are known to another room, which the toolchain knows by name only.
    """
    return importlib.import_module("millstream_hw.tools").doctored()


def _entry(package: Requirement) -> dict[str, object]:
    found = package.installed
    fix = "" if found else package.install
    extras = [extra for extra in package.extras if extra]
    return {
        "name": package.name,
        "versions": package.versions,
        "extras": extras,
        "installed": found,
        "fix": fix,
    }


def _show(here: Surroundings, packages: tuple[Requirement, ...]) -> None:
    out = console()
    telling = [feature for feature in _TELLING if feature in here.features]
    shown = {
        "Python": here.python,
        "machine": f"{here.system} {here.architecture}, {here.cpu or 'CPU without a name'}",
        "CPU features": f"{' '.join(telling) or 'unknown'} ({len(here.features)} in all)",
        "C compiler": here.compiler or f"missing; to fix: {INSTALL}",
        "cache": here.cache + ("" if here.cache_writable else " (cannot be written: code is compiled anew)"),
    }
    out.print(facts(shown))
    rows = (
        (p.name, p.versions or "any", p.installed or "MISSING", ", ".join(filter(None, p.extras)) or "base",
         "" if p.installed else p.install)
        for p in packages
    )  # fmt: skip
    out.print(table(("package", "wanted", "installed", "extra", "to fix"), rows))
    tools = ((name, tool["path"] or "MISSING", tool["fix"]) for name, tool in fpga_tools().items())
    out.print(table(("for an FPGA", "path", "to fix"), tools))
