"""C simulation: the C++ of a build, compiled with the fixed-point types that come with hls4ml."""

from __future__ import annotations

import os
import subprocess
import tempfile
from importlib import resources

import numpy as np

from millstream_hw import tools
from millstream_hw.errors import ToolFailed
from millstream_hw.hls.convert import CORE, FIRMWARE
from millstream_hw.hls.top import TOP

BINARY = "simulator"
HARNESS, SCHEDULE, RESULTS = "harness.cpp", "schedule.bin", "results.bin"
_WHY = {1: "its weights are missing", 2: "wrong arguments", 3: "the schedule ended early",
        5: "it gave other words than a frame has, or marked the wrong one as the last"}  # fmt: skip


def put_harness(folder: str) -> None:
    """Write the program that drives the top into a copy of a build."""
    text = resources.files("millstream_hw.hls").joinpath(f"firmware/{HARNESS}").read_text()
    with open(os.path.join(folder, HARNESS), "w", encoding="utf-8") as file:
        file.write(text)


def compile_simulator(folder: str) -> None:
    """Compile a copy of a build's C++. Raises ToolMissing, ToolFailed."""
    put_harness(folder)
    types = str(resources.files("hls4ml").joinpath("templates/vivado/ap_types"))
    sources = [f"{TOP}.cpp", f"{FIRMWARE}/{CORE}.cpp", HARNESS]
    tools.find("c++").run(
        ["-std=c++14", "-O1", "-w", "-I", types, "-I", FIRMWARE, f'-DWEIGHTS_DIR="{FIRMWARE}/weights"',
         *sources, "-o", BINARY],
        folder,
        "compiler.log",
    )  # fmt: skip


def schedule(frames: np.ndarray, resets: np.ndarray) -> bytes:
    """Frames (T, in_words) int16 and resets (T,) bool as the harness reads them."""
    return np.concatenate([resets[:, None].astype(np.int16), frames], axis=1).astype("<i2").tobytes()


def simulate(folder: str, frames: np.ndarray, resets: np.ndarray, out_words: int) -> np.ndarray:
    """Stream frames (T, in_words) int16 through the top; `resets` (T,) bool says which begin a new stream.
    The results are (T, out_words) int16.

    Raises ToolFailed when the program stops.
    """
    with tempfile.TemporaryDirectory() as room:
        given, results = os.path.join(room, SCHEDULE), os.path.join(room, RESULTS)
        with open(given, "wb") as file:
            file.write(schedule(frames, resets))
        numbers = map(str, (frames.shape[1], out_words, len(frames)))
        program = os.path.join(os.path.abspath(folder), BINARY)
        done = subprocess.run(
            [program, *numbers, given, results], cwd=folder, capture_output=True, check=False
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            why = "; ".join(filter(None, (_WHY.get(done.returncode, ""), said)))
            raise ToolFailed("the C simulation stopped", where=folder, why=why)
        return np.fromfile(results, "<i2").reshape(len(frames), out_words).astype(np.int16)
