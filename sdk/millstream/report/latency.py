"""How long single steps take here: the whole distribution, for every backend that runs on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from millstream.bench import step_times
from millstream.opening import Opened
from millstream.whereabouts import runs_here
from millstream_runtime.golden import Golden

PERCENTILES = (0.0, 1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 99.9, 100.0)
_BINS = 48


@dataclass(frozen=True)
class Latency:
    """Microseconds per `Stream.step` in one thread.

    `percentiles` are those of `PERCENTILES`. `counts` says how many steps fell between two neighbours of
    `edges`; the edges, one more, are the same for all backends and grow by a constant factor. Slower steps
    than the last edge are counted in the last place.
    """

    target: str
    backend: str
    percentiles: tuple[float, ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def at(self, percentile: float) -> float:
        """One of the percentiles."""
        return self.percentiles[PERCENTILES.index(percentile)]


def latencies(opened: Sequence[Opened], golden: Golden, steps: int) -> tuple[Latency, ...]:
    """Time `steps` steps of every target that opened and runs on this machine itself."""
    times = {
        one.target: step_times(one.model, golden, steps)
        for one in opened
        if one.model is not None and one.model.spec.batch in (None, 1) and runs_here(one.target)
    }
    if not times:
        return ()
    lowest = min(each.min() for each in times.values())
    # The few slowest steps are the operating system's; they would leave no room for the others.
    highest = max(np.percentile(each, 95) for each in times.values())
    edges = np.geomspace(lowest, 1.5 * highest, _BINS + 1)
    return tuple(_latency(target.name, target.backend, each, edges) for target, each in times.items())


def _latency(target: str, backend: str, times: np.ndarray, edges: np.ndarray) -> Latency:
    counts, _ = np.histogram(np.clip(times, edges[0], edges[-1]), edges)
    found = np.percentile(times, PERCENTILES)
    return Latency(target, backend, tuple(found.tolist()), tuple(edges.tolist()), tuple(counts.tolist()))
