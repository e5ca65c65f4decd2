"""Simulating a build in closed loop against the golden model, and what came of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from millstream_hw import closed_loop, verilator
from millstream_hw.build import SOURCES, Build
from millstream_hw.planning import circuit_of, step_graph
from millstream_hw.verilator import Traffic
from millstream_runtime import golden as golden_frames
from millstream_runtime.spec import GOLDEN

SIMULATION = "simulation.json"
_FOLDER = "simulator"
#: How the ports are driven the second time: words come late, and are not taken at once.
_STALLING = Traffic(offered=40, taken=35, seed=7)


@dataclass(frozen=True)
class Simulation:
    """Frames that were equal bit for bit, and the cycles of one when nobody lets the circuit wait."""

    golden_frames: int
    random_frames: int
    resets: int
    cycles: int


def simulate(build: Build, random_count: int, seed: int, begin: Callable[[str], None]) -> Simulation:
    """The golden frames of the model, then random frames with resets in mid-stream; each again with ports
    that stall.

    Raises BitsDiffer at the first difference, ToolMissing, ToolFailed.
    """
    build.forget(SIMULATION)
    bundle = build.bundle()
    circuit, graph = circuit_of(bundle), step_graph(bundle)
    begin("compiling the simulator")
    folder = simulator(build)
    spec = bundle.manifest.model
    given = golden_frames.load(bundle.members[GOLDEN], spec).inputs
    reals = {t.name: array for t, array in zip(spec.graph_inputs, given, strict=True)}
    words = closed_loop.quantized(circuit, [reals[port.real] for port in circuit.inputs])
    known = closed_loop.Frames(words, np.zeros(len(words), bool))
    chance = closed_loop.random_frames(words, random_count, seed)
    out_words = sum(port.size for port in circuit.outputs)
    cycles = 0
    for name, frames in (("golden frames", known), ("random frames", chance)):
        begin(f"{len(frames.words)} {name} through the reference")
        wanted = closed_loop.golden(graph, circuit, frames)
        for how, traffic in (("", Traffic()), (", ports that stall", _STALLING)):
            begin(f"{len(frames.words)} {name} through Verilator{how}")
            run = verilator.simulate(folder, frames.words, frames.resets, out_words, traffic)
            closed_loop.compare(f"{name}{how}: the circuit", wanted, run.results)
            cycles = cycles or int(run.cycles.min())
    done = Simulation(len(known.words), len(chance.words), int(chance.resets.sum()), cycles)
    build.note(SIMULATION, asdict(done))
    return done


def simulator(build: Build) -> str:
    """The folder of the compiled simulator of a build, made once and whole or not at all."""
    folder = build.path(_FOLDER)
    if not os.path.isdir(folder):
        with tempfile.TemporaryDirectory(dir=build.folder, prefix=".simulator-") as room:
            new = os.path.join(room, _FOLDER)
            os.mkdir(new)
            for name in os.listdir(build.folder):
                if name.endswith(SOURCES):
                    shutil.copy(build.path(name), new)
            verilator.compile_simulator(new, build.sources)
            os.rename(new, folder)
    return folder
