"""What a circuit means, in NumPy: one step on integers, slow and obvious.

It computes what the reference computes from the step graph; tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from millstream_hw.circuit import (
    Add,
    Circuit,
    Contract,
    Curve,
    Gather,
    Inverse,
    InverseNorm,
    Multiply,
    Operation,
    Product,
    Rounding,
    Scale,
    Table,
)

Values = dict[str, np.ndarray]


def initial(circuit: Circuit) -> Values:
    """The states after a reset, by the name of their port."""
    return {state.port.name: state.initial.reshape(state.port.shape) for state in circuit.states}


def step(circuit: Circuit, inputs: Mapping[str, np.ndarray], states: Mapping[str, np.ndarray]) -> Values:
    """Every value of the circuit for one frame; integers by name."""
    values: Values = {**circuit.constants, **inputs, **states}
    for operation in circuit.operations:
        values[operation.output] = compute(operation, values).reshape(operation.shape)
    return values


def following(circuit: Circuit, values: Mapping[str, np.ndarray]) -> Values:
    """The states of the next frame."""
    return {s.port.name: values[s.following].reshape(s.port.shape) for s in circuit.states}


def compute(operation: Operation, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """One operation on int16 values."""

    def wide(name: str) -> np.ndarray:
        return values[name].astype(np.int64)

    match operation.work:
        case Product() as p:
            exact = wide(p.x).reshape(-1, len(p.weight)) @ p.weight.astype(np.int64) + p.bias
        case Scale() as s:
            exact = wide(s.x) * s.factor.astype(np.int64) + s.bias
        case Add() as a:
            exact = wide(a.a) * a.align_a + wide(a.b) * a.align_b
        case Multiply() as m:
            exact = wide(m.a) * wide(m.b)
        case Contract() as c:
            exact = np.matmul(wide(c.a), wide(c.b))
        case Table() as t:
            return t.table[(wide(t.x) >> t.shift) + len(t.table) // 2]
        case Inverse() as i:
            return inverted(wide(i.x) * i.factor + i.bias, i.curve)
        case InverseNorm() as n:
            return inverted(np.square(wide(n.x)).sum(-1, keepdims=True) + n.bias, n.curve)
        case Gather() as g:
            return np.concatenate([values[name].reshape(-1) for name in g.sources])[g.index]
    return rounded(exact, operation.rounding)


def rounded(exact: np.ndarray, rounding: Rounding | None) -> np.ndarray:
    """int16 of int64, as `Rounding` says."""
    if rounding is None:
        raise ValueError("an operation without its rounding")
    if rounding.shift > 0:
        exact = (exact + (1 << (rounding.shift - 1))) >> rounding.shift
    else:
        exact = exact << -rounding.shift
    return np.clip(exact, rounding.low, rounding.high).astype(np.int16)


def inverted(exact: np.ndarray, curve: Curve) -> np.ndarray:
    """int16 of int64, as `Curve` says."""
    level = np.zeros_like(exact)
    for power in range(curve.levels):
        level += exact >= 1 << (curve.shift + 11 + 2 * power)
    place = np.clip(exact >> (curve.shift + 2 * level), 0, len(curve.table) - 1)
    # Three bits: two that an entry lacks, and one for the half.
    doubled = curve.table[place].astype(np.int64) << 3 >> (curve.step * level)
    return np.minimum((doubled + 1) >> 1, 32767).astype(np.int16)
