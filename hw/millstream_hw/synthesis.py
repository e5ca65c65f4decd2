"""Synthesis, placing and routing with open tools, and what their reports say."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from millstream.errors import ToolMissing
from millstream_hw import closed_loop, tools
from millstream_hw.board import files as board_files
from millstream_hw.build import Build
from millstream_hw.errors import ClockMissed, ToolFailed
from millstream_hw.flows import FLOWS, Flow
from millstream_hw.parts import Part
from millstream_hw.planning import HLS, circuit_of, step_graph
from millstream_hw.simulation import known_frames

SYNTHESIS = "synthesis.json"
#: The text configuration that nextpnr writes.
_ROUTED = "routed.config"

_FREQUENCY = re.compile(r"Max frequency for clock\s+'[^']*clk[^']*':\s+([\d.]+) MHz")

_VERSION = re.compile(r"(?:Yosys |nextpnr[- ])[0-9][\w.+-]*")


@dataclass(frozen=True)
class Synthesis:
    """What was placed and routed, or what high-level synthesis promises. `registers` is None where the tool
    counts them with the tables, `cycles` of a frame where it does not know them. `bitstream` is the file of
    the build that a board is loaded with, None where there is no board."""

    tables: int
    registers: int | None
    multipliers: int
    blocks: int
    fmax_mhz: float
    tools: tuple[str, ...]
    cycles: int | None = None
    sprams: int = 0
    bitstream: str | None = None


def synthesize(build: Build, begin: Callable[[str], None]) -> Synthesis:
    """Synthesize, place and route a build for its part; the bitstream's text configuration stays in it, and
    the bitstream itself where it is for a board. A build by hls4ml goes through Vitis HLS, and what comes of
    it is held against the golden model.

    `begin` is told what runs. Raises ToolMissing, ToolFailed, BitsDiffer, and ClockMissed when a board would
    run the circuit faster than it is. Done before, it is read back.
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
    flow = FLOWS[part.family]
    yosys, nextpnr = tools.find("yosys"), tools.find(flow.place)
    packer = tools.find(flow.packer) if build.board else None
    with tempfile.TemporaryDirectory(dir=build.folder, prefix=".synthesis-") as room:
        build.copy_sources(room)
        begin(f"{yosys.name} for {part.name}")
        yosys.run(["-q", "-p", _script(build, flow)], room, "yosys.log")
        begin(f"{nextpnr.name}: placing and routing")
        said = nextpnr.run(_arguments(build, part, flow), room, "nextpnr.log")
        with open(os.path.join(room, "report.json"), encoding="utf-8") as file:
            done = _read(json.load(file), said, flow, (_version(yosys, room), _version(nextpnr, room)))
        kept = ["yosys.log", "nextpnr.log", _ROUTED]
        if packer:
            _check_clock(build, done)
            begin(f"{packer.name}: the bitstream")
            bitstream = build.board + flow.ending
            packer.run([*flow.pack, _ROUTED, bitstream], room, "bitstream.log")
            kept.append(bitstream)
            done = replace(done, bitstream=bitstream)
        for name in kept:
            os.replace(os.path.join(room, name), build.path(name))
    return done


def _check_clock(build: Build, done: Synthesis) -> None:
    if done.fmax_mhz < build.clock_mhz:
        raise ClockMissed(
            f"the placed circuit makes {done.fmax_mhz:g} MHz, its clock is {build.clock_mhz:g} MHz",
            where=build.folder,
            fix="build it with a lower --clock, or with fewer lanes",
        )


def _top(build: Build) -> str:
    return board_files.TOP if build.board else "millstream_top"


def _script(build: Build, flow: Flow) -> str:
    sources = " ".join(build.compiled)
    return f"read_verilog -defer {sources}; {flow.synthesize} -top {_top(build)} -json top.json"


def _arguments(build: Build, part: Part, flow: Flow) -> list[str]:
    pins = [flow.pins, board_files.CONSTRAINTS] if build.board else [flow.no_pins]
    return [*part.place, "--json", "top.json", "--freq", f"{build.clock_mhz:g}", "--timing-allow-fail",
            "--report", "report.json", *pins, flow.text, _ROUTED]  # fmt: skip


def _read(report: Mapping[str, Any], said: str, flow: Flow, versions: tuple[str, ...]) -> Synthesis:
    used = {name: entry["used"] for name, entry in report["utilization"].items()}
    found = _FREQUENCY.findall(said)
    if not found:
        raise ToolFailed("nextpnr reported no frequency of clk", why="the design has no register")
    return Synthesis(
        tables=used[flow.tables],
        registers=used.get(flow.registers),
        multipliers=used.get(flow.multipliers, 0),
        blocks=used[flow.blocks],
        sprams=used.get(flow.sprams, 0),
        fmax_mhz=float(found[-1]),
        tools=versions,
    )


def _version(tool: tools.Tool, room: str) -> str:
    """Name and version of a tool, without how it was built."""
    said = tool.run(["--version"], room, "version.log")
    found = _VERSION.findall(said)
    return found[-1].replace("-", " ", 1) if found else tool.name
