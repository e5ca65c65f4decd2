"""Synthesis, placing and routing with open tools, and what their reports say."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from millstream.errors import ToolMissing
from millstream_hw import closed_loop, tools
from millstream_hw.build import Build
from millstream_hw.errors import ToolFailed
from millstream_hw.parts import Part
from millstream_hw.planning import HLS, circuit_of, step_graph
from millstream_hw.simulation import known_frames

SYNTHESIS = "synthesis.json"

#: What nextpnr calls the resources, by family: tables, registers, multipliers, block RAMs, SPRAMs.
_NAMES = {
    "ecp5": ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD", ""),
    "ice40": ("ICESTORM_LC", "", "ICESTORM_DSP", "ICESTORM_RAM", "ICESTORM_SPRAM"),
}
_FREQUENCY = re.compile(r"Max frequency for clock\s+'[^']*clk[^']*':\s+([\d.]+) MHz")

_VERSION = re.compile(r"(?:Yosys |nextpnr[- ])[0-9][\w.+-]*")


@dataclass(frozen=True)
class Synthesis:
    """What was placed and routed, or what high-level synthesis promises. `registers` is None where the tool
    counts them with the tables, `cycles` of a frame where it does not know them."""

    tables: int
    registers: int | None
    multipliers: int
    blocks: int
    fmax_mhz: float
    tools: tuple[str, ...]
    cycles: int | None = None
    sprams: int = 0


def synthesize(build: Build, begin: Callable[[str], None]) -> Synthesis:
    """Synthesize, place and route a build for its part; the bitstream's text configuration stays in it. A
    build by hls4ml goes through Vitis HLS, and what comes of it is held against the golden model.

    `begin` is told what runs. Raises ToolMissing, ToolFailed, BitsDiffer. Done before, it is read back.
    """
    found = build.noted(SYNTHESIS)
    if found:
        return Synthesis(**{**found, "tools": tuple(found["tools"])})
    done = _by_vendor(build, begin) if build.road == HLS else _by_open_tools(build, begin)
    build.note(SYNTHESIS, asdict(done))
    return done


def _by_vendor(build: Build, begin: Callable[[str], None]) -> Synthesis:
    from millstream_hw.hls import vitis  # hls4ml takes seconds to load

    bundle = build.bundle()
    circuit = circuit_of(bundle)
    frames = known_frames(bundle, circuit)
    wanted = closed_loop.golden(step_graph(bundle), circuit, frames)
    with tempfile.TemporaryDirectory(dir=build.folder, prefix=".synthesis-") as room:
        build.copy_sources(room)
        report, results = vitis.run(room, frames, wanted.shape[1], begin)
        closed_loop.compare("the synthesized circuit", wanted, results)
        if os.path.exists(build.path(vitis.PROJECT)):
            shutil.rmtree(build.path(vitis.PROJECT))
        for name in (vitis.LOG, vitis.PROJECT):
            os.replace(os.path.join(room, name), build.path(name))
    found = asdict(report)
    return Synthesis(tools=(f"Vitis HLS {found.pop('version')}",), **found)


def _by_open_tools(build: Build, begin: Callable[[str], None]) -> Synthesis:
    part = build.target
    if not part.place:
        raise ToolMissing(
            f"{part.name} is synthesized by Vivado, which is not driven from here",
            fix=f"add {', '.join(build.compiled)} and the memory files of {build.folder} to a Vivado project",
        )
    yosys, nextpnr = tools.find("yosys"), tools.find(f"nextpnr-{part.family}")
    with tempfile.TemporaryDirectory(dir=build.folder, prefix=".synthesis-") as room:
        build.copy_sources(room)
        begin(f"{yosys.name} for {part.name}")
        yosys.run(["-q", "-p", _script(build.compiled, part)], room, "yosys.log")
        begin(f"{nextpnr.name}: placing and routing")
        said = nextpnr.run(_arguments(part, build.clock_mhz), room, "nextpnr.log")
        with open(os.path.join(room, "report.json"), encoding="utf-8") as file:
            done = _read(json.load(file), said, part, (_version(yosys, room), _version(nextpnr, room)))
        for name in ("yosys.log", "nextpnr.log", "routed.config"):
            os.replace(os.path.join(room, name), build.path(name))
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
    tables, registers, multipliers, blocks, sprams = _NAMES[part.family]
    found = _FREQUENCY.findall(said)
    if not found:
        raise ToolFailed("nextpnr reported no frequency of clk", why="the design has no register")
    return Synthesis(
        tables=used[tables],
        registers=used.get(registers),
        multipliers=used.get(multipliers, 0),
        blocks=used[blocks],
        sprams=used.get(sprams, 0),
        fmax_mhz=float(found[-1]),
        tools=versions,
    )


def _version(tool: tools.Tool, room: str) -> str:
    """Name and version of a tool, without how it was built."""
    said = tool.run(["--version"], room, "version.log")
    found = _VERSION.findall(said)
    return found[-1].replace("-", " ", 1) if found else tool.name
