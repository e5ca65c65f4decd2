"""Synthesis, placing and routing with open tools, and what their reports say."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from millstream.errors import ToolMissing
from millstream_hw import tools
from millstream_hw.build import SOURCES, Build
from millstream_hw.errors import ToolFailed
from millstream_hw.parts import Part

SYNTHESIS = "synthesis.json"

#: What nextpnr calls the resources, by family: tables, registers, multipliers, block RAMs.
_NAMES = {
    "ecp5": ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD"),
    "ice40": ("ICESTORM_LC", "", "ICESTORM_DSP", "ICESTORM_RAM"),
}
_FREQUENCY = re.compile(r"Max frequency for clock\s+'[^']*clk[^']*':\s+([\d.]+) MHz")

_VERSION = re.compile(r"(?:Yosys |nextpnr[- ])[0-9][\w.+-]*")


@dataclass(frozen=True)
class Synthesis:
    """What was placed and routed. `registers` is None where the tool counts them with the tables."""

    tables: int
    registers: int | None
    multipliers: int
    blocks: int
    fmax_mhz: float
    tools: tuple[str, ...]


def synthesize(build: Build, begin: Callable[[str], None]) -> Synthesis:
    """Synthesize, place and route a build for its part; the bitstream's text configuration stays in it.

    `begin` is told what runs. Raises ToolMissing, ToolFailed. Done before, it is read back.
    """
    found = build.noted(SYNTHESIS)
    if found:
        return Synthesis(**{**found, "tools": tuple(found["tools"])})
    part = build.target
    if not part.place:
        raise ToolMissing(
            f"{part.name} is synthesized by Vivado, which is not driven from here",
            fix=f"add {', '.join(build.sources)} and the memory files of {build.folder} to a Vivado project",
        )
    yosys, nextpnr = tools.find("yosys"), tools.find(f"nextpnr-{part.family}")
    with tempfile.TemporaryDirectory(dir=build.folder, prefix=".synthesis-") as room:
        for name in os.listdir(build.folder):
            if name.endswith(SOURCES):
                os.link(build.path(name), os.path.join(room, name))
        begin(f"{yosys.name} for {part.name}")
        yosys.run(["-q", "-p", _script(build.sources, part)], room, "yosys.log")
        begin(f"{nextpnr.name}: placing and routing")
        said = nextpnr.run(_arguments(part, build.clock_mhz), room, "nextpnr.log")
        with open(os.path.join(room, "report.json"), encoding="utf-8") as file:
            done = _read(json.load(file), said, part, (_version(yosys, room), _version(nextpnr, room)))
        for name in ("yosys.log", "nextpnr.log", "routed.config"):
            os.replace(os.path.join(room, name), build.path(name))
    build.note(SYNTHESIS, asdict(done))
    return done


def _script(sources: Sequence[str], part: Part) -> str:
    passes = {
        "ecp5": "synth_ecp5 -top millstream_top -json top.json",
        "ice40": "synth_ice40 -dsp -top millstream_top -json top.json",
    }
    return f"read_verilog -defer {' '.join(sources)}; {passes[part.family]}"


def _arguments(part: Part, clock_mhz: float) -> list[str]:
    pins = {"ecp5": ["--lpf-allow-unconstrained", "--textcfg", "routed.config"],
            "ice40": ["--pcf-allow-unconstrained", "--asc", "routed.config"]}  # fmt: skip
    return [*part.place, "--json", "top.json", "--freq", f"{clock_mhz:g}", "--timing-allow-fail",
            "--report", "report.json", *pins[part.family]]  # fmt: skip


def _read(report: Mapping[str, Any], said: str, part: Part, versions: tuple[str, ...]) -> Synthesis:
    used = {name: entry["used"] for name, entry in report["utilization"].items()}
    tables, registers, multipliers, blocks = _NAMES[part.family]
    found = _FREQUENCY.findall(said)
    if not found:
        raise ToolFailed("nextpnr reported no frequency of clk", why="the design has no register")
    return Synthesis(
        tables=used[tables],
        registers=used.get(registers),
        multipliers=used.get(multipliers, 0),
        blocks=used[blocks],
        fmax_mhz=float(found[-1]),
        tools=versions,
    )


def _version(tool: tools.Tool, room: str) -> str:
    """Name and version of a tool, without how it was built."""
    said = tool.run(["--version"], room, "version.log")
    found = _VERSION.findall(said)
    return found[-1].replace("-", " ", 1) if found else tool.name
