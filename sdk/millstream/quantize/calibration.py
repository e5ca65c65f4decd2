"""Streaming real frames through a step graph to see what its values are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from millstream.graph import StepGraph
from millstream.reference.interpreter import prepare
from millstream.reference.operators import OPERATORS
from millstream.reference.precision import Operator

#: Ticks after which the range of an activation hardly grows.
MOST_TICKS = 512


@dataclass(frozen=True)
class Calibration:
    """Sequences (T_i, ...) as the device will see them, and the states that each begins with (no batch
    dimension)."""

    sequences: Sequence[np.ndarray]
    initial: Sequence[np.ndarray]


def largest_magnitudes(graph: StepGraph, names: Sequence[str], calibration: Calibration) -> dict[str, float]:
    """The largest |value| of each named tensor while the sequences stream through the graph."""
    largest = dict.fromkeys(names, 0.0)
    for values in stream(observed(graph, names), calibration):
        for name in names:
            largest[name] = max(largest[name], float(np.abs(values[name]).max()))
    return largest


def observed(graph: StepGraph, names: Sequence[str]) -> StepGraph:
    """The graph with inner values as further outputs. It keeps no contract: it is for looking only."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return StepGraph(model)


def stream(
    graph: StepGraph,
    calibration: Calibration,
    ticks: int = MOST_TICKS,
    operators: Mapping[str, Operator] = OPERATORS,
) -> Iterator[Mapping[str, np.ndarray]]:
    """What the graph computes at each tick, state carried, each sequence from the initial states."""
    run = prepare(graph.model, operators)
    frame, *flags = graph.inputs
    batch = graph.batch or 1
    left = ticks
    for sequence in calibration.sequences:
        states = {
            pair.name: np.repeat(value[None], batch, 0)
            for pair, value in zip(graph.states, calibration.initial, strict=True)
        }
        for x in sequence[:left]:
            always = {flag.name: np.ones(batch, bool) for flag in flags}
            values = run({frame.name: np.repeat(x[None], batch, 0), **always, **states})
            states = {pair.name: values[pair.next_name] for pair in graph.states}
            yield values
        left -= len(sequence)
        if left <= 0:
            return
