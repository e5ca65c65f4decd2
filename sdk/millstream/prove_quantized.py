"""The rungs between a float step and its quantized form: what the rounding costs, within stated bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from millstream.graph import StepGraph
from millstream.ladder import Rung
from millstream.prove import stepped, where_labelled
from millstream.quantize import Format, Quantized
from millstream.quantize.calibration import Calibration, stream
from millstream.quantize.error import Gap, relative_errors
from millstream.quantize.fixed_point.spiking import apart, neurons
from millstream.quantize.recurrence import LONG, without_reset
from millstream.quantize.states.choosing import Chosen
from millstream.quantize.states.writing import narrowed, narrowed_initial, widened
from millstream.sequences import Sequences
from millstream_runtime.core import Core
from millstream_runtime.registers import Registers

#: Of all spikes, that a rounding may decide otherwise: a sum must lie within some 2^-12 of its range of the
#: threshold for that, and sums are spread over about their range.
MOST_OTHERWISE = 2.0**-11
#: Accuracy that a quantized model may lose; one sequence more is allowed to a small test set.
MOST_LOST = 0.01


def near_float(quantized: Quantized, calibration: Calibration) -> list[Rung]:
    """Outputs over the example, and states over a long stream, lie near those of the float graph."""
    exact, graph, format = quantized.original, quantized.graph, quantized.format
    fired = neurons(exact, graph) if format.whole else ()
    if fired:
        return _near_float_given_spikes(quantized, fired, calibration)
    outputs = relative_errors(exact, graph, [t.name for t in exact.outputs], calibration)
    rungs = [
        _rung(f"step.onnx in float ~ in {format.name}", outputs, format, "relative RMS error of outputs")
    ]
    names = [pair.next_name for pair in exact.states]
    if names:
        states = relative_errors(exact, graph, names, without_reset(calibration), LONG)
        detail = f"relative RMS error of states, {LONG} ticks without reset"
        rungs.append(_rung(f"{format.name}: no state drifts from float", states, format, detail))
    return rungs


def _near_float_given_spikes(
    quantized: Quantized, fired: Sequence[str], calibration: Calibration
) -> list[Rung]:
    """The same where neurons fire: both steps are given the same spikes, and must decide alike."""
    exact, graph, format = quantized.original, quantized.graph, quantized.format
    names = [*(t.name for t in exact.outputs), *(pair.next_name for pair in exact.states)]
    found = apart(exact, graph, fired, names, without_reset(calibration), LONG)
    detail = f"relative RMS error of outputs and states, {LONG} ticks without reset"
    alike = f"share of all spikes that float decides otherwise, {LONG} ticks without reset"
    return [
        _rung(f"step.onnx in float ~ in {format.name}, given its spikes", found.errors, format, detail),
        Rung(
            f"{format.name}: neurons fire as in float",
            found.otherwise <= MOST_OTHERWISE,
            found.otherwise,
            MOST_OTHERWISE,
            alike,
        ),
    ]


def _rung(claim: str, errors: Mapping[str, float], format: Format, detail: str) -> Rung:
    worst = max(errors, key=lambda name: errors[name])
    passed = errors[worst] <= format.max_error
    return Rung(claim, passed, errors[worst], format.max_error, f"{detail}; largest in {worst}")


def narrow_states_near_float(graph: StepGraph, chosen: Chosen, calibration: Calibration) -> Rung:
    """Outputs and states of the step that is written with narrower states lie near those of float32."""
    written = narrowed(graph, chosen.mix)
    initial = narrowed_initial(graph, calibration.initial, chosen.mix)
    long = without_reset(calibration)
    gap = Gap()
    both = stream(graph, long, LONG), stream(written, replace(long, initial=initial), LONG)
    for want, got in zip(*both, strict=True):
        for tensor in graph.outputs:
            gap.add(tensor.name, got[tensor.name], want[tensor.name])
        for pair in graph.states:
            storage = chosen.mix.get(pair.name)
            value = widened(got, pair, storage) if storage else got[pair.next_name]
            gap.add(pair.next_name, value, want[pair.next_name])
    errors = gap.relative()
    worst = max(errors, key=lambda name: errors[name])
    dtypes = Counter(storage.dtype for storage in chosen.mix.values())
    told = ", ".join(f"{count} states in {dtype}" for dtype, count in sorted(dtypes.items()))
    detail = f"{told}; relative RMS error, {LONG} ticks without reset; largest in {worst}"
    claim = "step.onnx with narrow states ~ with float32"
    return Rung(claim, errors[worst] <= chosen.most, errors[worst], chosen.most, detail)


def keeps_accuracy(name: str, exact: np.ndarray, quantized: np.ndarray, data: Sequences) -> Rung:
    """Outputs (M, classes) of the quantized reference, where `data` has labels, find as many as torch's."""
    before, after = (accuracy(outputs, data) for outputs in (exact, quantized))
    allowed = max(MOST_LOST, 1 / len(data.answers))
    detail = f"{data.questions}: torch {before:.2%}, {name} {after:.2%}"
    lost = max(before - after, 0.0)
    return Rung(f"{name} keeps its accuracy", lost <= allowed, lost, allowed, detail)


def accuracy(outputs: np.ndarray, data: Sequences) -> float:
    """The part of the labels that are the largest values of the outputs (M, classes) behind their frames."""
    return float((outputs.argmax(1) == data.answers).mean())


def labelled_outputs(core: Core, data: Sequences) -> np.ndarray:
    """The first output behind every frame that has a label, (M, ...), sequence by sequence.

    The sequences stream side by side where the batch is free.
    """
    if core.spec.batch is not None:
        return where_labelled(lambda frames: stepped(core, frames)[0], data)
    asked = data.asked
    registers = Registers(core, len(asked))
    lengths = np.array([len(frames) for frames in data.frames])
    found = np.empty((asked.sum(), *registers.outputs[0].shape[1:]), registers.outputs[0].dtype)
    places = asked.cumsum().reshape(asked.shape) - 1
    for tick in range(lengths.max() + core.spec.look_ahead):
        for row, frames in enumerate(data.frames):
            registers.inputs[0][row] = frames[tick] if tick < len(frames) else 0
        for flag in registers.inputs[1:]:
            flag[...] = tick < lengths
        registers.tick()
        frame = tick - core.spec.look_ahead
        if frame >= 0:
            due = asked[:, frame]
            found[places[due, frame]] = registers.outputs[0][due]
    return found
