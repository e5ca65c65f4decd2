"""What quantization costs trained models, beside onnxruntime's static quantizer and a plain min-max baseline.

    python benchmarks/quantization.py --json build/quantization.json

Every trained model of the catalogue, or those that are named: its metric on data that no training read
(`quantization_tasks`), the error of its outputs there, and bytes (step.onnx, and the weights of the compiled
step). Then the states of the step in w8a8 with narrow states are held against float32 over --ticks frames.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import onnx
import options
from quantization_peers import ways
from trained_steps import TRAINED, Step, compiled_bytes, step_of

from millstream.graph import StepGraph, build
from millstream.quantize import FORMATS, quantize
from millstream.quantize.error import Gap
from millstream.quantize.states.choosing import choose
from millstream.quantize.states.writing import narrowed, narrowed_initial, widened
from millstream_runtime.backends import onnxruntime
from millstream_runtime.core import Core
from millstream_runtime.errors import BackendRefused
from millstream_runtime.registers import Registers
from millstream_runtime.spec import STEP, Memory, TargetSpec, Tolerance

MOST_DRIFT = 0.02
_WINDOWS = 10
_TARGET = TargetSpec("onnxruntime", "onnxruntime", (STEP,), Tolerance(0, 0, ""), Memory(0, 0, 0))


@dataclass(frozen=True)
class Row:
    """One way to quantize one model: the figure of its metric, and what was lost of it against float, in
    points or percent (less than 0: won).

    `error` is the relative RMS of the outputs. Of onnxruntime's models no step is compiled: 0 bytes. Where
    `refused` says why, onnxruntime does not open what its quantizer wrote, and all else is 0.
    """

    model: str
    way: str
    bits: str
    figure: float = 0
    lost: float = 0
    error: float = 0
    step_bytes: int = 0
    weight_bytes: int = 0
    refused: str = ""


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    made.add_argument(
        "models", nargs="*", metavar="MODEL", help="names of the catalogue; all that are trained"
    )
    made.add_argument("--ticks", type=int, default=100_000, help="how long the states are watched; 0: not")
    options.add_json(made)
    arguments = made.parse_args()
    rows: list[Row] = []
    for name in arguments.models or TRAINED:
        step = step_of(name)
        found = list(_rows(step))
        print(_table(step, found), flush=True)
        if arguments.ticks:
            print(_long_run(step, arguments.ticks), flush=True)
        rows += found
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _rows(step: Step) -> Iterator[Row]:
    metric = step.task.metric
    exact = outputs(step, step.graph.model)
    before, whole = metric.figure(exact), np.concatenate(exact)
    yield Row(step.name, "float32", "", before, 0, 0, len(step.graph.to_bytes()), compiled_bytes(step.graph))
    for way in ways():
        model = way.quantizer(step.graph, step.calibration)
        try:
            found = outputs(step, model)
        except BackendRefused as refusal:
            yield Row(step.name, way.name, way.bits, refused=str(refusal))
            continue
        figure = metric.figure(found)
        gap = Gap()
        gap.add("output", np.concatenate(found), whole)
        error = gap.relative()["output"]
        size = 0 if way.name.startswith("onnxruntime") else compiled_bytes(build(model, step.graph.states))
        lost = metric.lost(before, figure)
        yield Row(step.name, way.name, way.bits, figure, lost, error, len(model.SerializeToString()), size)


def outputs(step: Step, model: onnx.ModelProto) -> list[np.ndarray]:
    """The first output for every frame of each sequence of the task, (T, ...), as onnxruntime computes them.

    The sequences stream side by side where the batch is free.
    """
    opened = onnxruntime.open({STEP: model.SerializeToString()}, step.spec, _TARGET)
    core, sequences = Core(step.spec, opened, tuple(step.calibration.initial), ""), step.task.sequences
    size = step.spec.batch or len(sequences)
    return [
        row
        for start in range(0, len(sequences), size)
        for row in _streamed(core, sequences[start : start + size])
    ]


def _streamed(core: Core, sequences: Sequence[np.ndarray]) -> list[np.ndarray]:
    registers, ahead = Registers(core, len(sequences)), core.spec.look_ahead
    lengths = np.array([len(frames) for frames in sequences])
    ticks = []
    for tick in range(lengths.max() + ahead):
        for row, frames in enumerate(sequences):
            registers.inputs[0][row] = frames[tick] if tick < len(frames) else 0
        for flag in registers.inputs[1:]:
            flag[...] = tick < lengths
        registers.tick()
        ticks.append(registers.outputs[0].copy())
    return [np.stack([each[row] for each in ticks[ahead : ahead + n]]) for row, n in enumerate(lengths)]


def _long_run(step: Step, ticks: int) -> str:
    """The largest error of a state of w8a8 with narrow states in each tenth of a long stream, in words."""
    mix = choose(step.graph, step.calibration, MOST_DRIFT).mix
    small = narrowed(quantize(step.graph, FORMATS["w8a8"], step.calibration).graph, mix)
    starts = step.calibration.initial, narrowed_initial(step.graph, step.calibration.initial, mix)
    runs = (_ticks(step, graph, start) for graph, start in zip((step.graph, small), starts, strict=True))
    after = {p.next_name: p for p in step.graph.states}
    floats = [name for name, t in zip(after, step.graph.state_tensors, strict=True) if t.dtype.kind == "f"]
    errors, gap = [], Gap()
    for tick, (want, got) in enumerate(zip(*runs, strict=False), 1):
        for name in floats:
            storage = mix.get(after[name].name)
            gap.add(name, widened(got, after[name], storage) if storage else got[name], want[name])
        if tick % (ticks // _WINDOWS) == 0:
            errors.append(max(gap.relative().values()))
            gap = Gap()
        if tick == ticks:
            break
    told = ", ".join(f"{error:.2%}" for error in errors)
    return f"w8a8, {len(mix)} narrow states: largest error of a state by tenths of {ticks:,} ticks: {told}\n"


def _ticks(step: Step, graph: StepGraph, initial: Sequence[np.ndarray]) -> Iterator[Mapping[str, np.ndarray]]:
    """What the graph gives tick by tick on the calibration's frames, over and over without reset."""
    run = onnxruntime.session(graph.to_bytes())
    names = [value.name for value in run.get_outputs()]
    frames = np.concatenate(list(step.calibration.sequences))
    states = {pair.name: value[None] for pair, value in zip(graph.states, initial, strict=True)}
    for tick in itertools.count():
        found = run.run(names, {graph.inputs[0].name: frames[tick % len(frames)][None], **states})
        values = dict(zip(names, map(np.asarray, found), strict=True))
        yield values
        states = {pair.name: values[pair.next_name] for pair in graph.states}


def _table(step: Step, rows: Sequence[Row]) -> str:
    """Sizes in kilobytes, and how many times smaller than float32."""
    exact, metric = rows[0], step.task.metric
    lines = [
        f"| `{step.name}` | | {metric.name} | {metric.unit} lost | error | step.onnx, kB | weights, kB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        sizes = (
            _size(row.step_bytes, exact.step_bytes),
            _size(row.weight_bytes, exact.weight_bytes),
        )
        if row.refused:
            numbers = "refused", "", "", "", ""
        elif row is exact:
            numbers = format(row.figure, metric.form), "", "", *sizes
        else:
            numbers = format(row.figure, metric.form), f"{row.lost:.2f}", f"{row.error:.2%}", *sizes
        lines.append(f"| {' | '.join((row.way, row.bits, *numbers))} |")
    return "\n".join(lines) + "\n"


def _size(count: int, exact: int) -> str:
    times = f" ({exact / count:.1f}x)" if count and count != exact else ""
    return f"{count / 1000:.1f}{times}" if count else "-"


if __name__ == "__main__":
    main()
