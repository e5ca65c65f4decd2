"""Holding a step against the golden sequence: the same frames must give the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from millstream_runtime.core import Core
from millstream_runtime.golden import Golden
from millstream_runtime.registers import Registers
from millstream_runtime.spec import Tolerance


@dataclass(frozen=True)
class Difference:
    """The largest |got - want| of one tensor over the whole sequence, and the bound on it.

    `largest` is infinite where NaN or infinity stand in one and not the other; for integers and booleans
    the bound is 0, but for integers that a state was rounded to.
    """

    name: str
    largest: float
    bound: float

    @property
    def within(self) -> bool:
        return self.largest <= self.bound


@dataclass(frozen=True)
class Replay:
    """One Difference per output, then one per final state."""

    ticks: int
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return all(d.within for d in self.differences)

    @property
    def worst(self) -> Difference:
        """The difference that comes nearest to its bound, or passes it farthest."""
        return worst(self.differences)


def replay(core: Core, golden: Golden, tolerance: Tolerance) -> Replay:
    """Stream the golden frames through the step and compare outputs and final states.

    The frames of one stream are given to all rows of a model with a fixed batch. Outputs during the
    warm-up belong to no frame and are not compared. Every buffer that the step must write is poisoned
    before each tick, so a value that it leaves unwritten shows.
    """
    spec = core.spec
    registers = Registers(core, spec.batch or 1)
    got = [np.empty((golden.ticks, *o.shape), o.dtype) for o in registers.outputs]
    for tick in range(golden.ticks):
        for buffer, values in zip(registers.inputs, golden.inputs, strict=True):
            buffer[...] = values[tick]
        for buffer in (*registers.outputs, *registers.next_states):
            poison(buffer)
        registers.tick()
        for history, output in zip(got, registers.outputs, strict=True):
            history[tick] = output
    warm = spec.look_ahead
    differences = [
        compare(t.name, g[warm:], w[warm:, None], tolerance)
        for t, g, w in zip(spec.outputs, got, golden.outputs, strict=True)
    ]
    differences += [
        compare(s.name, g, w[None], tolerance, s.rounded)
        for s, g, w in zip(spec.states, registers.states, golden.final_states, strict=True)
    ]
    return Replay(golden.ticks, tuple(differences))


def compare(
    name: str, got: np.ndarray, want: np.ndarray, tolerance: Tolerance, rounded: bool = False
) -> Difference:
    """The largest difference of two arrays (`want` is broadcast to `got`) and the bound on it.

    The bound is that of `Tolerance`; NaN equals NaN and an infinity equals itself. `rounded` values stand for
    float32, as those of a `StateSpec` do.
    """
    same = (got == want) | ((got != got) & (want != want))
    if got.size == 0 or same.all():
        return Difference(name, 0.0, _bound(want, tolerance, rounded))
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(got.astype(np.float64) - want.astype(np.float64))
    # Integers beyond 2**53 may differ and yet agree in float64: what is not the same differs by something.
    gap = np.where(same, 0.0, np.where(np.isfinite(gap), np.maximum(gap, np.finfo(np.float64).tiny), np.inf))
    return Difference(name, float(gap.max()), _bound(want, tolerance, rounded))


def worst(differences: Sequence[Difference]) -> Difference:
    """Of one or more differences the one that comes nearest to its bound, or passes it farthest."""
    return max(differences, key=lambda d: (not d.within, d.largest / d.bound if d.bound else d.largest))


def poison(array: np.ndarray) -> None:
    """Fill with what no step would write by chance: NaN, the largest integer, True."""
    kind = array.dtype.kind
    array[...] = np.nan if kind == "f" else True if kind == "b" else np.iinfo(array.dtype).max


def _bound(want: np.ndarray, tolerance: Tolerance, rounded: bool) -> float:
    if want.dtype.kind != "f" and not rounded:
        return 0.0
    largest = float(np.abs(want[np.isfinite(want)].astype(np.float64)).max(initial=0.0))
    bound = tolerance.absolute + tolerance.relative * largest
    # The least difference of floats may round to the neighbour.
    return max(bound, _distance(want.dtype, largest)) if rounded else bound


def _distance(dtype: np.dtype, largest: float) -> float:
    """How far neighbours are apart, at most, up to a value."""
    if dtype.kind != "f":
        return 1.0
    limits = np.finfo(dtype)
    return max(float(limits.eps) * largest, float(limits.smallest_subnormal))
