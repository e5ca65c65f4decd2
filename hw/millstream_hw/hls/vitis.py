"""Vitis HLS: the script that synthesizes a build and simulates the circuit, and the report that it leaves.

Written from the documented commands and reports; it was never run against the tool itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from millstream_hw import tools
from millstream_hw.closed_loop import Frames
from millstream_hw.errors import ToolFailed
from millstream_hw.hls.convert import CORE, FIRMWARE
from millstream_hw.hls.csim import SCHEDULE, put_harness, schedule
from millstream_hw.hls.top import TOP

SCRIPT = "vitis.tcl"
PROJECT, SOLUTION = "vitis", "solution"
REPORT = f"{PROJECT}/{SOLUTION}/syn/report/{TOP}_csynth.xml"
LOG = "vitis.log"
#: What the script leaves behind: the results of the simulated circuit.
RESULTS = "results.bin"
_NEWER = "vitis-run"


@dataclass(frozen=True)
class Report:
    """What C synthesis says: resources, the fastest clock, and the most cycles of a frame; `version` of the
    tool."""

    tables: int
    registers: int
    multipliers: int
    blocks: int
    fmax_mhz: float
    cycles: int
    version: str


def script(device: str, clock_mhz: float) -> str:
    """What Vitis HLS does with a build. Its only arguments, the numbers of the harness, come from the
    environment."""
    return f"""# vitis-run --mode hls --tcl {SCRIPT}, or with older versions: vitis_hls -f {SCRIPT}
open_project -reset {PROJECT}
set_top {TOP}
add_files {TOP}.cpp -cflags "-std=c++14"
add_files {FIRMWARE}/{CORE}.cpp -cflags "-std=c++14"
open_solution -reset {SOLUTION} -flow_target vivado
set_part {{{device}}}
create_clock -period {1000 / clock_mhz:g} -name default
csynth_design
if {{[info exists ::env(MILLSTREAM_FRAMES)]}} {{
    add_files -tb harness.cpp -cflags "-std=c++14"
    add_files -tb {FIRMWARE}/weights
    cosim_design -argv "$::env(MILLSTREAM_FRAMES) [pwd]/{SCHEDULE} [pwd]/{RESULTS}"
}}
export_design -format ip_catalog
exit
"""


def run(
    folder: str, frames: Frames, out_words: int, begin: Callable[[str], None]
) -> tuple[Report, np.ndarray]:
    """Synthesize the build in `folder` and stream frames through the circuit that comes of it.

    Raises ToolMissing, ToolFailed.
    """
    tool = tools.find("vitis")
    put_harness(folder)
    with open(os.path.join(folder, SCHEDULE), "wb") as file:
        file.write(schedule(frames.words, frames.resets))
    count = len(frames.words)
    numbers = f"{frames.words.shape[1]} {out_words} {count}"
    begin("Vitis HLS: synthesis, then co-simulation")
    newer = os.path.basename(tool.path) == _NEWER
    arguments = ["--mode", "hls", "--tcl", SCRIPT] if newer else ["-f", SCRIPT]
    tool.run(arguments, folder, LOG, {"MILLSTREAM_FRAMES": numbers})
    try:
        found = np.fromfile(os.path.join(folder, RESULTS), "<i2").reshape(count, out_words).astype(np.int16)
        return read(os.path.join(folder, REPORT)), found
    except (OSError, ValueError) as error:
        raise ToolFailed("Vitis ended without its results", where=folder, why=str(error)) from error


def read(path: str) -> Report:
    """The XML report of C synthesis. Raises ToolFailed naming a figure that is not in it."""
    root = ElementTree.parse(path).getroot()

    def figure(where: str) -> str:
        found = root.findtext(where)
        if found is None:
            raise ToolFailed("a report of Vitis lacks a figure", where=path, why=where)
        return found.strip()

    area, performance = "AreaEstimates/Resources", "PerformanceEstimates"
    latency = figure(f"{performance}/SummaryOfOverallLatency/Worst-caseLatency")
    if not latency.isdecimal():
        raise ToolFailed("Vitis cannot tell how long a frame lasts", where=path, why=latency)
    return Report(
        tables=int(figure(f"{area}/LUT")),
        registers=int(figure(f"{area}/FF")),
        multipliers=int(figure(f"{area}/DSP")),
        blocks=int(figure(f"{area}/BRAM_18K")),
        fmax_mhz=1000 / float(figure(f"{performance}/SummaryOfTimingAnalysis/EstimatedClockPeriod")),
        cycles=int(latency),
        version=figure("ReportVersion/Version"),
    )
