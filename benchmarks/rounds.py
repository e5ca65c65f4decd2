"""Interleaved timing: many short rounds, in which every runner has its turn.

A machine whose speed drifts slows all of them alike, and the median forgets the rounds that something else
disturbed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from frames import FRAMES, Step

ROUNDS = 101
#: Short, so that most rounds run undisturbed although others use the machine.
ROUND_SECONDS = 0.004

_TURN = tuple(FRAMES[:16])


@dataclass(frozen=True)
class Timing:
    """The median over rounds, and the fastest round."""

    median: float
    fastest: float


def take_turns(runners: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, Timing]:
    """The timing of every runner. Each is called once to warm up, then once in every round."""
    values: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(rounds + 1):
        for name, one_round in runners.items():
            value = one_round()
            if number:
                values[name].append(value)
    return {name: Timing(statistics.median(each), min(each)) for name, each in values.items()}


def microseconds(work: Callable[[], object], units: int) -> float:
    """Microseconds per unit over about `ROUND_SECONDS`, when one call of `work` does `units` of them.

    A call before the clock starts brings back what other runners drove out of the caches.
    """
    work()
    count, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < ROUND_SECONDS:
        work()
        count += units
    return 1e6 * elapsed / count


def step_round(step: Step) -> float:
    """Microseconds per step over one round."""

    def work() -> None:
        for frame in _TURN:
            step(frame)

    return microseconds(work, len(_TURN))
