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
#: Of one tensor, that are kept to be looked at more than once.
MOST_VALUES = 2**20


@dataclass(frozen=True)
class Calibration:
    """Sequences (T_i, ...) as the device will see them, and the states that each begins with (no batch
    dimension)."""

    sequences: Sequence[np.ndarray]
    initial: Sequence[np.ndarray]


def spread(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The sequences in a random order, always the same: data often lies class by class, and of much data only
    the front is streamed."""
    order = np.random.default_rng(0).permutation(len(sequences))
    return tuple(sequences[place] for place in order)


def halves(calibration: Calibration) -> tuple[Calibration, Calibration]:
    """Every other sequence, and the rest; a single one is cut in the middle, and a single frame is both."""
    first, second = calibration.sequences[::2], calibration.sequences[1::2]
    if not second:
        (only,) = first
        middle = (len(only) + 1) // 2
        first, second = [only[:middle]], [only[middle:] if len(only) > 1 else only]
    return Calibration(first, calibration.initial), Calibration(second, calibration.initial)


def samples(graph: StepGraph, names: Sequence[str], calibration: Calibration) -> dict[str, np.ndarray]:
    """The values (rows, ...) of each named tensor while the sequences stream through the graph: of every
    tick, or of ticks that lie evenly where all would be more than `MOST_VALUES`."""
    ticks = min(MOST_TICKS, sum(map(len, calibration.sequences)))
    kept: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for tick, values in enumerate(stream(observed(graph, names), calibration)):
        for name in names:
            if tick % -(-ticks * values[name].size // MOST_VALUES) == 0:
                kept[name].append(values[name])
    return {name: np.concatenate(rows) for name, rows in kept.items()}


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
    states: dict[str, np.ndarray] = {}
    for x, begins in frames(calibration, ticks):
        if begins:
            states = initial_states(graph, calibration)
        always = {flag.name: np.ones(batch, bool) for flag in flags}
        values = run({frame.name: np.repeat(x[None], batch, 0), **always, **states})
        states = {pair.name: values[pair.next_name] for pair in graph.states}
        yield values


def frames(calibration: Calibration, ticks: int) -> Iterator[tuple[np.ndarray, bool]]:
    """The first so many frames of the sequences, and whether each begins one."""
    left = ticks
    for sequence in calibration.sequences:
        for place, x in enumerate(sequence[:left]):
            yield x, place == 0
        left -= len(sequence)
        if left <= 0:
            return


def initial_states(graph: StepGraph, calibration: Calibration) -> dict[str, np.ndarray]:
    """The states that a sequence begins with, by the names of the graph and for its whole batch."""
    pairs = zip(graph.states, calibration.initial, strict=True)
    return {pair.name: np.repeat(value[None], graph.batch or 1, 0) for pair, value in pairs}
