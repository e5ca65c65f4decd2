"""What narrower states do to a step over time: mixes of storages stream side by side, rows of one batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration
from millstream.quantize.states.storage import Storage, kept
from millstream.reference.interpreter import prepare

#: Storage by the name of a state; what is not named stays as it is.
Mix = Mapping[str, Storage]

#: Long enough for an error that adds up to show, and for the slow decays of real models to settle.
TICKS = 2048
#: The points of the curve of a drift; a multiple of 4, so that quarters of the stream are whole.
WINDOWS = 64
#: How long a stream may last whose error is bounded.
LASTING = 100_000
#: From the second quarter of a stream to the last, what has settled grows by less: a random walk grows by
#: 1.5, a sum by 2.3, and what stays of a real stream varies by some tenths.
SETTLED = 1.4


@dataclass(frozen=True)
class Drift:
    """How far a mix goes from float32 over a stream.

    `errors` has for each float output and next state, by name, one number per window of `TICKS / WINDOWS`
    ticks: the RMS of the difference in the window over that of the float value there, or in the whole stream
    where that is larger. `growth` is how much faster the difference grows than the value, by name.
    """

    errors: Mapping[str, tuple[float, ...]]
    growth: Mapping[str, float]

    @property
    def largest(self) -> float:
        """Of any tensor, in any window."""
        return max(map(max, self.errors.values()), default=0.0)

    @property
    def worst(self) -> str:
        """The tensor that goes farthest; empty when there is none."""
        return max(self.errors, key=lambda name: max(self.errors[name]), default="")

    @property
    def curve(self) -> tuple[float, ...]:
        """The largest error of any tensor in each window."""
        return tuple(map(max, zip(*self.errors.values(), strict=True)))

    @property
    def lasting(self) -> float:
        """The largest error to expect within `LASTING` ticks: that of a tensor whose error still grows is
        carried on by the power of time that it grew with."""
        return max((_lasting(max(e), self.growth[name]) for name, e in self.errors.items()), default=0.0)


@dataclass(frozen=True)
class Streamed:
    """The drift of each mix, and the names of the states that go on growing in float."""

    drifts: tuple[Drift, ...]
    growing: frozenset[str]


def drifts(graph: StepGraph, mixes: Sequence[Mix], calibration: Calibration) -> Streamed:
    """Stream the calibration's frames without reset through a flat graph, over and over, once for each mix.

    All mixes and the float states are rows of one batch, or take turns where the graph's batch is fixed.
    """
    names = _floats(graph)
    rows: list[Mix] = [{}, *mixes]
    gaps = {name: np.zeros((len(rows), WINDOWS)) for name in names}
    sizes = {name: np.zeros(WINDOWS) for name in names}
    for tick, values in enumerate(_rows(graph, rows, calibration)):
        window = tick * WINDOWS // TICKS
        for name in names:
            flat = values[name].reshape(len(rows), -1).astype(np.float64)
            exact = flat[0]
            # What is infinite or NaN in float as well is no difference.
            gap = np.subtract(flat, exact, out=np.zeros_like(flat), where=np.isfinite(flat[:1]))
            sizes[name][window] += np.square(exact, out=np.zeros_like(exact), where=np.isfinite(exact)).mean()
            gaps[name][:, window] += np.square(gap).mean(1)
    found = tuple(
        Drift(
            {name: _relative(gaps[name][row], sizes[name]) for name in names},
            {name: _growth(gaps[name][row]) / max(_growth(sizes[name]), 1.0) for name in names},
        )
        for row in range(1, len(rows))
    )
    after = {pair.name: pair.next_name for pair in graph.states}
    growing = {n for n in after if after[n] in sizes and _growth(sizes[after[n]]) > SETTLED}
    return Streamed(found, frozenset(growing))


def _floats(graph: StepGraph) -> list[str]:
    """The float outputs and next states that hold anything."""
    after = [pair.next_name for pair in graph.states]
    pairs = [*((t.name, t) for t in graph.outputs), *zip(after, graph.state_tensors, strict=True)]
    return [name for name, tensor in pairs if tensor.dtype.kind == "f" and 0 not in tensor.shape]


def _rows(
    graph: StepGraph, rows: Sequence[Mix], calibration: Calibration
) -> Iterator[Mapping[str, np.ndarray]]:
    """At each tick what the graph gives, one row for each mix, the states kept as the mix says."""
    run, size = prepare(graph.model), graph.batch or len(rows)
    frame, *flags = graph.inputs
    frames = np.concatenate(list(calibration.sequences))
    always = {flag.name: np.ones(size, bool) for flag in flags}
    turns = [range(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    states = {
        pair.name: np.repeat(value[None], len(rows), 0)
        for pair, value in zip(graph.states, calibration.initial, strict=True)
    }
    places: dict[tuple[str, Storage], list[int]] = {}
    for row, mix in enumerate(rows):
        for state in mix.items():
            places.setdefault(state, []).append(row)
    _keep(states, places)
    for tick in range(TICKS):
        x = np.repeat(frames[tick % len(frames)][None], size, 0)
        found = [
            run({frame.name: x, **always, **{n: _filled(v[list(turn)], size) for n, v in states.items()}})
            for turn in turns
        ]
        values = {
            name: np.concatenate([part[name][: len(turn)] for part, turn in zip(found, turns, strict=True)])
            for name in found[0]
        }
        yield values
        states = {pair.name: values[pair.next_name].copy() for pair in graph.states}
        _keep(states, places)


def _keep(states: Mapping[str, np.ndarray], places: Mapping[tuple[str, Storage], Sequence[int]]) -> None:
    """Round, in place, the rows of each state that a storage keeps."""
    for (name, storage), rows in places.items():
        states[name][rows] = kept(storage, states[name][rows])


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    """The rows, the last one repeated until there are `size`."""
    return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), 0)])


def _relative(gaps: np.ndarray, sizes: np.ndarray) -> tuple[float, ...]:
    """Roots of mean squares, of the difference over the value; NaN counts as infinitely far."""
    gaps = np.where(np.isfinite(gaps), gaps, np.inf)
    size = np.maximum(sizes, sizes.mean())
    never = np.where(gaps > 0, np.inf, 0.0)
    return tuple(np.sqrt(np.divide(gaps, size, out=never, where=size > 0)).tolist())


def _lasting(error: float, growth: float) -> float:
    if growth <= SETTLED or math.isinf(error):
        return error
    # The quarters that the growth is between lie 3/8 and 7/8 of the stream behind its begin.
    return error * (LASTING / TICKS) ** (math.log(growth) / math.log(7 / 3))


def _growth(squares: np.ndarray) -> float:
    """The factor by which the root of mean squares grows from the second quarter to the last; 1 where there
    is nothing to grow from."""
    quarter = WINDOWS // 4
    before, last = (float(squares[start : start + quarter].mean()) for start in (quarter, 3 * quarter))
    return math.sqrt(last / before) if before else 1.0
