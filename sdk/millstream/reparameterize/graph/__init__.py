"""Rewrites of the traced step: what a module hides from its own layers, a graph shows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.graph import StepGraph
from millstream.protocol import VALID
from millstream.reference import prepare
from millstream.reparameterize.equality import BOUND
from millstream.reparameterize.graph.constants import constants
from millstream.reparameterize.graph.counting import cost
from millstream.reparameterize.graph.duplicates import duplicates
from millstream.reparameterize.graph.editing import GraphCandidate
from millstream.reparameterize.graph.finite_response import finite_response
from millstream.reparameterize.graph.linear_region import linear_region
from millstream.reparameterize.graph.ring_norm import ring_norm
from millstream.reparameterize.report import Applied, Cost, LeftAlone, Report
from millstream_runtime.errors import MillstreamError

__all__ = ["RewrittenStep", "rewritten_graph"]

_Initial = Mapping[str, np.ndarray]
#: Of what a step graph with these initial states offers.
_GraphRewrite = Callable[[StepGraph, _Initial], Iterable[GraphCandidate]]
_REWRITES: dict[str, _GraphRewrite] = {
    "constants": lambda graph, _: constants(graph),
    "duplicates": lambda graph, _: duplicates(graph),
    "norm before a ring": ring_norm,
    "finite response": finite_response,
    "linear region": lambda graph, _: linear_region(graph),
}
_TICKS = 17


@dataclass(frozen=True)
class RewrittenStep:
    """A step after its rewrites, the initial value (no batch dimension) of each state, and what was done."""

    graph: StepGraph
    initial: _Initial
    report: Report


def rewritten_graph(graph: StepGraph, frames: np.ndarray, initial: _Initial) -> RewrittenStep:
    """Apply every rewrite of the step that helps, each proved on real frames.

    Args:
        graph: the traced step.
        frames: (T, ...), real ones.
        initial: the initial value of each state, without batch. A ring may hold its frames scaled
            afterwards, and a memory become a ring.
    """
    return _Run(graph, frames, initial).finished()


class _Run:
    """The step as far as it is rewritten, what it gives, and what became of every place."""

    def __init__(self, graph: StepGraph, frames: np.ndarray, initial: _Initial) -> None:
        self._first = self._graph, self._initial = graph, initial
        self._frames, self._ticks = frames, _TICKS
        self._cost, self._applied = cost(graph), []
        self._outputs = self._first_outputs = self._streamed(graph, initial)
        self._failed: dict[tuple[str, str], str] = {}

    def finished(self) -> RewrittenStep:
        before = self._cost
        while True:
            applied = len(self._applied)
            left = [each for name in _REWRITES for each in self._sweep(name)]
            if len(self._applied) == applied:
                break
        error = _relative_error(self._outputs, self._first_outputs)
        report = Report(tuple(self._applied), tuple(left), error, before, self._cost)
        return RewrittenStep(self._graph, self._initial, report)

    def _sweep(self, name: str) -> list[LeftAlone]:
        while True:
            candidates = list(_REWRITES[name](self._graph, self._initial))
            fresh = next((c for c in candidates if c.transform and (name, c.where) not in self._failed), None)
            if fresh is None:
                return [
                    LeftAlone(name, c.where, self._failed.get((name, c.where), c.why)) for c in candidates
                ]
            self._try(name, fresh)

    def _try(self, name: str, candidate: GraphCandidate) -> None:
        """Keep the rewritten graph when it gives the same outputs for less."""
        initial = {**self._initial, **candidate.initial}
        try:
            graph = candidate.transform() if candidate.transform else self._graph
            after, shorter = cost(graph), _nodes(graph) < _nodes(self._graph)
            if not _helps(self._cost, after, shorter):
                sizes = (self._cost.macs, after.macs, self._cost.parameters, after.parameters)
                why = "it would not help: MACs {:,} -> {:,}, parameters {:,} -> {:,}".format(*sizes)
                self._failed[name, candidate.where] = why
                return
            self._look_longer(candidate.ticks)
            outputs = self._streamed(graph, initial)
        except MillstreamError as error:
            self._failed[name, candidate.where] = f"the rewritten step is refused: {error.what}"
            return
        error = _relative_error(outputs, self._outputs)
        if not error < BOUND:
            why = f"the outputs differ by {error:.1e} of their largest, more than {BOUND:.0e}"
            self._failed[name, candidate.where] = why
        else:
            self._applied.append(Applied(name, candidate.where, error, self._cost, after))
            self._graph, self._initial, self._outputs, self._cost = graph, initial, outputs, after

    def _look_longer(self, ticks: int) -> None:
        """From now on compare the outputs of so many ticks at least."""
        if ticks > self._ticks:
            self._ticks = ticks
            self._first_outputs = self._streamed(*self._first)
            self._outputs = self._streamed(self._graph, self._initial)

    def _streamed(self, graph: StepGraph, initial: _Initial) -> list[np.ndarray]:
        """Every output of every tick under the reference, frames over and over where there are too few."""
        run, found = prepare(graph.model), []
        state = {name: value[None] for name, value in initial.items()}
        for frame in itertools.islice(itertools.cycle(self._frames), self._ticks):
            given: dict[str, np.ndarray] = {graph.inputs[0].name: frame[None]}
            given |= {each.name: np.ones(1, bool) for each in graph.inputs if each.name == VALID}
            results = run({**given, **state})
            found += [results[each.name] for each in graph.outputs]
            state = {pair.name: results[pair.next_name] for pair in graph.states}
        return found


def _helps(before: Cost, after: Cost, shorter: bool) -> bool:
    """Fewer multiplications; or as many, and fewer nodes or numbers, with no more of the other."""
    if after.macs != before.macs:
        return after.macs < before.macs
    return after.parameters <= before.parameters and (shorter or after.parameters < before.parameters)


def _nodes(graph: StepGraph) -> int:
    return len(graph.model.graph.node)


def _relative_error(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    """The largest difference of any output, relative to the largest magnitude over all of them."""
    if [(y.shape, y.dtype) for y in got] != [(y.shape, y.dtype) for y in want]:
        return float("inf")
    worst, largest = 0.0, 0.0
    for mine, theirs in zip(got, want, strict=True):
        a, b = mine.astype(np.float64), theirs.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        difference = np.where(same, 0.0, np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b)))
        if not np.isfinite(difference).all():
            return float("inf")
        worst = max(worst, float(difference.max(initial=0.0)))
        largest = max(largest, float(np.abs(b[np.isfinite(b)]).max(initial=0.0)))
    return worst / largest if largest else worst
