"""How far the states of each backend go from the reference's over a long stream without reset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millstream_runtime.core import Core
from millstream_runtime.golden import Golden
from millstream_runtime.model import Model
from millstream_runtime.registers import Registers
from millstream_runtime.replay import Difference, compare, worst

_POINTS = 60


@dataclass(frozen=True)
class Drift:
    """One target against the reference.

    `shares` has one number for each of `ticks`: of all states the largest difference in proportion to what
    the target's tolerance allows. `largest` is the largest difference of each state over these ticks.
    """

    target: str
    ticks: tuple[int, ...]
    shares: tuple[float, ...]
    largest: Mapping[str, float]


def drifts(models: Sequence[Model], reference: Core, golden: Golden, ticks: int) -> tuple[Drift, ...]:
    """Stream the golden frames over and over, without those that drain the look-ahead; nothing for a model
    without states."""
    spec = reference.spec
    if not spec.states:
        return ()
    rows = spec.batch or 1
    theirs, ours = Registers(reference, rows), [Registers(model.core, rows) for model in models]
    seen = sorted({int(tick) for tick in np.linspace(1, ticks, min(_POINTS, ticks))})
    found: list[list[list[Difference]]] = [[] for _ in models]
    for tick in range(1, ticks + 1):
        frame = (tick - 1) % (golden.ticks - spec.look_ahead)
        for registers in (theirs, *ours):
            for buffer, values in zip(registers.inputs, golden.inputs, strict=True):
                buffer[...] = values[frame]
            registers.tick()
        if tick in seen:
            for model, registers, history in zip(models, ours, found, strict=True):
                history.append(_differences(model, registers, theirs))
    return tuple(
        Drift(
            target=model.target.name,
            ticks=tuple(seen),
            shares=tuple(_share(worst(differences)) for differences in history),
            largest={
                state.name: max(differences[place].largest for differences in history)
                for place, state in enumerate(spec.states)
            },
        )
        for model, history in zip(models, found, strict=True)
    )


def _differences(model: Model, ours: Registers, theirs: Registers) -> list[Difference]:
    return [
        compare(state.name, got, want, model.target.tolerance, state.rounded)
        for state, got, want in zip(model.spec.states, ours.states, theirs.states, strict=True)
    ]


def _share(difference: Difference) -> float:
    """Of what is allowed; integers are equal or infinitely far."""
    if difference.bound:
        return difference.largest / difference.bound
    return np.inf if difference.largest else 0.0
