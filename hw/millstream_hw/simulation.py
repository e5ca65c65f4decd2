"""Simulating a build in closed loop against the golden model, and what came of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from millstream_hw import closed_loop, verilator
from millstream_hw.build import SIMULATOR, Build
from millstream_hw.circuit import Circuit
from millstream_hw.closed_loop import Frames
from millstream_hw.planning import HLS, circuit_of, stateless_circuit_of, step_graph
from millstream_hw.verilator import Traffic
from millstream_runtime import golden as golden_frames
from millstream_runtime.bundle import Bundle
from millstream_runtime.spec import GOLDEN

SIMULATION = "simulation.json"
#: How the ports are driven the second time: words come late, and are not taken at once.
_STALLING = Traffic(offered=40, taken=35, seed=7)


@dataclass(frozen=True)
class Simulation:
    """Frames that were equal bit for bit, and the cycles of one when nobody lets the circuit wait; None where
    the simulation knows no cycles."""

    tool: str
    golden_frames: int
    random_frames: int
    resets: int
    cycles: int | None


@dataclass(frozen=True)
class _Machine:
    """A compiled simulation: `run` gives the results of frames, and the cycles of the fastest, if it counts
    them; `traffics` are the ways to drive its ports, by a name for messages."""

    tool: str
    traffics: Mapping[str, Traffic]
    run: Callable[[Frames, Traffic], tuple[np.ndarray, int | None]]


def simulate(build: Build, random_count: int, seed: int, begin: Callable[[str], None]) -> Simulation:
    """The golden frames of the model, then random frames with resets in mid-stream; each again with ports
    that stall.

    Raises BitsDiffer at the first difference, ToolMissing, ToolFailed.
    """
    build.forget(SIMULATION)
    bundle = build.bundle()
    graph = step_graph(bundle)
    circuit = stateless_circuit_of(bundle) if build.board else circuit_of(bundle)
    begin("compiling the simulator")
    machine = _machine(build, sum(port.size for port in circuit.outputs))
    known = known_frames(bundle, circuit)
    chance = closed_loop.random_frames(known.words, random_count, seed)
    cycles: int | None = None
    for name, frames in (("golden frames", known), ("random frames", chance)):
        begin(f"{len(frames.words)} {name} through the reference")
        wanted = closed_loop.golden(graph, circuit, frames)
        for how, traffic in machine.traffics.items():
            begin(f"{len(frames.words)} {name} through {machine.tool}{how}")
            results, fastest = machine.run(frames, traffic)
            closed_loop.compare(f"{name}{how}: the circuit", wanted, results)
            cycles = cycles or fastest
    counts = (len(known.words), len(chance.words), int(chance.resets.sum()))
    done = Simulation(machine.tool, *counts, cycles)
    build.note(SIMULATION, asdict(done))
    return done


def known_frames(bundle: Bundle, circuit: Circuit) -> Frames:
    """The golden frames of a model as the words that go in, one stream. Where the circuit takes its states
    with each frame, they are those that the frames before leave."""
    spec = bundle.manifest.model
    given = golden_frames.load(bundle.members[GOLDEN], spec).inputs
    reals = {t.name: array for t, array in zip(spec.graph_inputs, given, strict=True)}
    inside = circuit_of(bundle)
    words = closed_loop.quantized(inside, [reals[port.real] for port in inside.inputs])
    frames = Frames(words, np.zeros(len(words), bool))
    if len(circuit.inputs) == len(inside.inputs):
        return frames
    watched = replace(inside, outputs=circuit.outputs)
    left = closed_loop.golden(step_graph(bundle), watched, frames)
    first = np.concatenate([state.initial.reshape(-1) for state in inside.states]).astype(np.int16)
    states = np.concatenate([first[None], left[:-1, -len(first) :]])
    return replace(frames, words=np.concatenate([words, states], axis=1))


def simulator(build: Build) -> str:
    """The folder of the compiled simulator of a build, made once and whole or not at all."""
    folder = build.path(SIMULATOR)
    if not os.path.isdir(folder):
        with tempfile.TemporaryDirectory(dir=build.folder, prefix=".simulator-") as room:
            new = os.path.join(room, SIMULATOR)
            os.mkdir(new)
            build.copy_sources(new)
            if build.road == HLS:
                from millstream_hw.hls import csim  # hls4ml takes seconds to load

                csim.compile_simulator(new)
            else:
                verilator.compile_simulator(new, build.compiled)
            os.rename(new, folder)
    return folder


def _machine(build: Build, out_words: int) -> _Machine:
    folder = simulator(build)

    def in_verilator(frames: Frames, traffic: Traffic) -> tuple[np.ndarray, int | None]:
        run = verilator.simulate(folder, frames.words, frames.resets, out_words, traffic)
        return run.results, int(run.cycles.min())

    if build.road != HLS:
        return _Machine("Verilator", {"": Traffic(), ", ports that stall": _STALLING}, in_verilator)
    from millstream_hw.hls import csim

    def in_c(frames: Frames, traffic: Traffic) -> tuple[np.ndarray, int | None]:
        return csim.simulate(folder, frames.words, frames.resets, out_words), None

    return _Machine("C simulation", {"": Traffic()}, in_c)
