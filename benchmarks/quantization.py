"""What quantization costs trained models, beside onnxruntime's static quantizer and a plain min-max baseline.

    python benchmarks/quantization.py --json build/quantization.json

Every trained model of the catalogue that has a data set, or those that are named: accuracy on its test split,
the error of its last outputs, and bytes in the bundle (step.onnx, and the weights of the compiled step). Then
the states of the step in w8a8 with narrow states are held against float32 over --ticks frames.
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

import millstream
from millstream import lower
from millstream.cli.export_options import ExportOptions
from millstream.cli.preparing import prepare
from millstream.graph import StepGraph, build
from millstream.ladder import Silent
from millstream.prove_quantized import last_outputs
from millstream.quantize import FORMATS, quantize
from millstream.quantize.calibration import Calibration, spread
from millstream.quantize.error import Gap
from millstream.quantize.states.choosing import choose
from millstream.quantize.states.writing import narrowed, narrowed_initial, widened
from millstream.sequences import Sequences
from millstream.targets import numba
from millstream_models import CATALOGUE
from millstream_runtime.backends import onnxruntime
from millstream_runtime.core import Core
from millstream_runtime.spec import STEP, Memory, ModelSpec, TargetSpec, Tolerance

MOST_DRIFT = 0.02
_WINDOWS = 10
_TARGET = TargetSpec("onnxruntime", "onnxruntime", (STEP,), Tolerance(0, 0, ""), Memory(0, 0, 0))


@dataclass(frozen=True)
class Row:
    """One way to quantize one model; `points` of accuracy are lost against float (less than 0: won).

    `error` is the relative RMS of the last outputs. Of onnxruntime's models no step is compiled: 0 bytes.
    """

    model: str
    way: str
    bits: str
    accuracy: float
    points: float
    error: float
    step_bytes: int
    weight_bytes: int


@dataclass(frozen=True)
class Step:
    """A float step, its contract, and data."""

    name: str
    graph: StepGraph
    spec: ModelSpec
    initial: tuple[np.ndarray, ...]
    calibration: Calibration
    test: Sequences


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    made.add_argument(
        "models", nargs="*", metavar="MODEL", help="names of the catalogue; all that are trained"
    )
    made.add_argument("--ticks", type=int, default=100_000, help="how long the states are watched")
    options.add_json(made)
    arguments = made.parse_args()
    trained = [each.name for each in CATALOGUE if each.weights and each.dataset]
    rows: list[Row] = []
    for name in arguments.models or trained:
        step = _step(name)
        rows += _rows(step)
        print(_table(rows[-len(ways()) - 1 :]))
        print(_long_run(step, arguments.ticks))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _step(name: str) -> Step:
    """A model of the catalogue, folded as `export` does it."""
    ready = prepare(ExportOptions(model=name), Silent())
    if ready.labelled is None:
        raise SystemExit(f"{name} has no labelled data")
    exported = millstream.export(ready.module, ready.example.data, "onnxruntime").contents
    graph = StepGraph(onnx.load_from_string(exported.step))
    fills = {
        state.name: np.full(state.shape, state.fill or 0, state.dtype) for state in exported.model.states
    }
    initial = tuple(exported.initial.get(name, fill) for name, fill in fills.items())
    calibration = Calibration(spread(ready.example.data.frames), initial)
    return Step(name, graph, exported.model, initial, calibration, ready.labelled.data)


def _rows(step: Step) -> Iterator[Row]:
    exact = _outputs(step, step.graph.model)
    right = _accuracy(exact, step.test)
    yield Row(step.name, "float32", "", right, 0.0, 0.0, len(step.graph.to_bytes()), _compiled(step.graph))
    for way in ways():
        model = way.quantizer(step.graph, step.calibration)
        found = _outputs(step, model)
        accuracy = _accuracy(found, step.test)
        size = 0 if way.name.startswith("onnxruntime") else _compiled(build(model, step.graph.states))
        error = float(np.sqrt(np.square(found - exact).sum() / np.square(exact).sum()))
        lost = 100 * (right - accuracy)
        yield Row(step.name, way.name, way.bits, accuracy, lost, error, len(model.SerializeToString()), size)


def _outputs(step: Step, model: onnx.ModelProto) -> np.ndarray:
    """The outputs after the last frame of every test sequence, as onnxruntime computes them."""
    opened = onnxruntime.open({STEP: model.SerializeToString()}, step.spec, _TARGET)
    return last_outputs(Core(step.spec, opened, step.initial, ""), step.test.frames)


def _accuracy(outputs: np.ndarray, test: Sequences) -> float:
    return float((outputs.argmax(1) == test.labels).mean())


def _compiled(graph: StepGraph) -> int:
    """Bytes of the weights of the step that is compiled from the graph."""
    lowered = lower.lower(graph)
    return len(numba.compile_program(lowered.program, lowered.weights).files["weights.bin"])


def _long_run(step: Step, ticks: int) -> str:
    """The largest error of a state of w8a8 with narrow states in each tenth of a long stream, in words."""
    mix = choose(step.graph, step.calibration, MOST_DRIFT).mix
    small = narrowed(quantize(step.graph, FORMATS["w8a8"], step.calibration).graph, mix)
    starts = step.initial, narrowed_initial(step.graph, step.initial, mix)
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


def _table(rows: Sequence[Row]) -> str:
    """Sizes in kilobytes, and how many times smaller than float32."""
    exact = rows[0]
    lines = [
        "| model | way | | accuracy | points lost | error | step.onnx, kB | weights, kB |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        step = _size(row.step_bytes, exact.step_bytes)
        weights = _size(row.weight_bytes, exact.weight_bytes)
        numbers = f"{row.accuracy:.2%}", f"{row.points:.2f}", f"{row.error:.2%}", step, weights
        lines.append(f"| {' | '.join((row.model, row.way, row.bits, *numbers))} |")
    return "\n".join(lines)


def _size(count: int, exact: int) -> str:
    return f"{count / 1000:.1f} ({exact / count:.1f}x)" if count else "-"


if __name__ == "__main__":
    main()
