"""Time the step of trained models in every format: 1 stream, one thread, compiled for this machine's CPU.

    python benchmarks/quantization_speed.py lmuformer_jv gla_bytes --json build/quantization_speed.json

Microseconds per step; the formats take turns in short rounds, and shown are the median and the fastest. The
frames are those of the example. `ternary` rounds a model that was not trained for it: its numbers are worth
nothing, its time is that of one that was.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable

from options import add_json
from rounds import microseconds, take_turns
from trained_steps import TRAINED, Step, compiled_bytes, step_of

from millstream import targets
from millstream.graph import StepGraph
from millstream.quantize import FORMATS, quantize
from millstream.targets import Contract
from millstream_runtime.core import Core
from millstream_runtime.registers import Registers
from millstream_runtime.spec import TargetSpec

WAYS = ("w8", "w8a8", "w8a8-static", "w4", "w4-groups", "w4a8", "ternary")
_FRAMES = 16


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    made.add_argument("models", nargs="*", metavar="MODEL", help="of the catalogue; all that are trained")
    made.add_argument("--target", default="cpu", help="cpu or numba")
    add_json(made)
    arguments = made.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in arguments.models or TRAINED:
        found[name] = timed(step_of(name), arguments.target)
        exact = found[name]["float32"]["median"]
        print(f"| `{name}` | microseconds | fastest | against float32 | weights, kB |")
        print("|---|---:|---:|---:|---:|")
        for way, each in found[name].items():
            times = f"{each['median']:.2f} | {each['fastest']:.2f} | {exact / each['median']:.2f}x"
            print(f"| {way} | {times} | {each['bytes'] / 1000:.1f} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


def timed(step: Step, target: str) -> dict[str, dict[str, float]]:
    """Median and fastest microseconds, and the bytes of the weights, of each format by name."""
    graphs = {"float32": step.graph}
    for name in WAYS:
        graphs[name] = quantize(step.graph, FORMATS[name], step.calibration).graph
    turns = take_turns({name: _round(step, graph, target) for name, graph in graphs.items()})
    return {
        name: {"median": each.median, "fastest": each.fastest, "bytes": compiled_bytes(graphs[name])}
        for name, each in turns.items()
    }


def _round(step: Step, graph: StepGraph, name: str) -> Callable[[], float]:
    """Microseconds per step over one round, with the state carried and another frame each time."""
    target = targets.target(name)
    contract = Contract(step.spec, tuple(step.calibration.initial))
    made = targets.compile_half(target).compile(graph, target, contract)
    compiled = TargetSpec(target.name, target.backend, (), made.tolerance, made.memory, made.machine)
    opened = targets.open_step(made.files, step.spec, compiled)
    registers = Registers(Core(step.spec, opened, contract.initial, ""), 1)
    for flag in registers.inputs[1:]:
        flag[...] = True
    frames = list(itertools.islice(itertools.chain(*step.calibration.sequences), _FRAMES))

    def work() -> None:
        for frame in frames:
            registers.inputs[0][0] = frame
            registers.tick()

    return lambda: microseconds(work, len(frames))


if __name__ == "__main__":
    main()
