"""How far a fixed-point step with neurons lies from the float step when both are given the same spikes.

A neuron whose sum lies near its threshold may fall on the other side after a rounding, and then everything
that reads it differs: no rounding is so fine that this cannot happen. So two things are asked instead. Given
the spikes of the fixed-point step, the float step must have nearly the same sums, and decide nearly every
spike alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration, frames, initial_states, observed, stream
from millstream.quantize.error import Gap
from millstream.quantize.fixed_point.region import spikes
from millstream.quantize.fixed_point.writer import integer_name
from millstream.reference.interpreter import prepare


@dataclass(frozen=True)
class Apart:
    """Relative RMS errors by name, and the share of all spikes that float decides otherwise."""

    errors: Mapping[str, float]
    otherwise: float


def neurons(exact: StepGraph, fixed: StepGraph) -> tuple[str, ...]:
    """The spikes of a flat float graph that its fixed-point form decides on integers."""
    written = {name for node in fixed.model.graph.node for name in node.output}
    compared = spikes(exact.model)
    casts = [node for node in exact.model.graph.node if node.op_type == "Cast" and node.input[0] in compared]
    return tuple(node.output[0] for node in casts if integer_name(node.output[0]) in written)


def apart(
    exact: StepGraph,
    fixed: StepGraph,
    fired: Sequence[str],
    names: Sequence[str],
    calibration: Calibration,
    ticks: int,
) -> Apart:
    """Stream both steps, the float step with the `fired` spikes of the other in place of its own."""
    run = prepare(observed(_given(exact, fired), fired).model)
    looked_at = observed(fixed, [integer_name(name) for name in fired])
    frame, batch = exact.inputs[0], exact.batch or 1
    gap, total, otherwise = Gap(), 0, 0
    states: dict[str, np.ndarray] = {}
    both = zip(frames(calibration, ticks), stream(looked_at, calibration, ticks), strict=True)
    for (x, begins), got in both:
        if begins:
            states = initial_states(exact, calibration)
        given = {name: got[integer_name(name)].astype(np.float32) for name in fired}
        reads = {_given_name(name): value for name, value in given.items()}
        want = run({frame.name: np.repeat(x[None], batch, 0), **reads, **states})
        states = {pair.name: want[pair.next_name] for pair in exact.states}
        for name in names:
            gap.add(name, got[name], want[name])
        total += sum(value.size for value in given.values())
        otherwise += sum(int(np.count_nonzero(value != want[name])) for name, value in given.items())
    return Apart(gap.relative(), otherwise / max(total, 1))


def _given(graph: StepGraph, fired: Sequence[str]) -> StepGraph:
    """The graph with its spikes as further inputs; what it decides itself is read by nobody."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in fired:
                node.input[place] = _given_name(name)
    model.graph.input.extend(onnx.ValueInfoProto(name=_given_name(name)) for name in fired)
    return StepGraph(model)


def _given_name(name: str) -> str:
    return f"{name}.given"
