"""A circuit as combinational logic: da4ml traces the same integers that the golden model computes.

States are further inputs and outputs of the logic; registers around it keep them. Everything is traced as
whole numbers, so a rounding is a division by a power of two, one half more, and a floor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from da4ml.trace import FixedVariableArray, comb_trace
from da4ml.types import CombLogic

from millstream.errors import UnsupportedOperators
from millstream.gap import Gap
from millstream_hw.circuit import (
    Add,
    Circuit,
    Contract,
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
from millstream_hw.unrolled.bounds import WORD, Bounds, bounds

#: An array of da4ml, which takes part in NumPy's functions without saying so in its types.
Symbols = Any

#: More constants than this take hours to share among adders, and fill no part that is known.
MOST_CONSTANTS = 2500


#: Seen with da4ml 0.6: its Verilog of a product of two values that were rounded before gives wrong bits.
_UNTRUSTED = "da4ml's Verilog of a product of two activations was seen to give wrong bits"
_UNSHIFTED = "da4ml has no shift whose distance is computed"
#: Why da4ml cannot make an operation.
_REFUSED = {Multiply: _UNTRUSTED, Contract: _UNTRUSTED, Inverse: _UNSHIFTED, InverseNorm: _UNSHIFTED}


def gaps(circuit: Circuit) -> Iterator[Gap]:
    """Why a circuit cannot be unrolled: what da4ml gets wrong, or too many constants."""
    for operation in circuit.operations:
        kind = type(operation.work)
        if kind in _REFUSED:
            yield Gap(kind.__name__, operation.output, operation.origin, _REFUSED[kind], "use --road engine")
        rounding = operation.rounding
        if rounding and rounding.low not in (0, -rounding.high - 1):
            why = f"limits of {rounding.low} and {rounding.high}, which are no width"
            yield Gap("rounding", operation.output, operation.origin, why, "use --road engine")
    count = constants(circuit)
    if count > MOST_CONSTANTS:
        why = f"{count:,} constants would be wired into logic, {MOST_CONSTANTS:,} are the most"
        yield Gap("step", circuit.operations[-1].output, "", why, "use --road engine")


def constants(circuit: Circuit) -> int:
    """How many weights are not 0."""
    works = [operation.work for operation in circuit.operations]
    return sum(int(np.count_nonzero(work.weight)) for work in works if isinstance(work, Product))


def trace(circuit: Circuit) -> CombLogic:
    """The logic of one step: the words of inputs and states in, those of outputs and next states out."""
    values: dict[str, Symbols] = {}
    given = []
    known = bounds(circuit)
    for port in (*circuit.inputs, *(state.port for state in circuit.states)):
        sign, whole, fraction = (np.full(port.shape, number) for number in _kif(known[port.name]))
        values[port.name] = FixedVariableArray.from_kif(sign, whole, fraction)
        given.append(values[port.name].ravel())
    for operation in circuit.operations:
        values[operation.output] = _compute(operation, values, circuit.constants)
    names = [port.name for port in circuit.outputs] + [state.following for state in circuit.states]
    return comb_trace(
        np.concatenate(given), np.concatenate([values[name].ravel() for name in names]), keep_dead_inputs=True
    )


def _compute(
    operation: Operation,
    values: Mapping[str, Symbols],
    constants: Mapping[str, np.ndarray],
) -> Symbols:
    def read(name: str) -> Symbols:
        return constants[name].astype(np.float64) if name in constants else values[name]

    match operation.work:
        case Product() as p:
            rows = read(p.x).reshape(-1, len(p.weight))
            exact = rows @ p.weight.astype(np.float64) + p.bias.astype(np.float64)
        case Scale() as s:
            exact = read(s.x) * s.factor.astype(np.float64) + s.bias.astype(np.float64)
        case Add() as a:
            exact = read(a.a) * float(a.align_a) + read(a.b) * float(a.align_b)
        case Multiply() | Contract() | Inverse() | InverseNorm() as refused:
            raise UnsupportedOperators(_REFUSED[type(refused)], where=operation.output)
        case Table() as t:
            return _looked_up(read(t.x), t).reshape(operation.shape)
        case Gather() as g:
            parts = [read(name).ravel() for name in g.sources]
            return np.concatenate(parts)[g.index].reshape(operation.shape)
    return _rounded(exact, operation.rounding).reshape(operation.shape)


def _rounded(exact: Symbols, rounding: Rounding | None) -> Symbols:
    if rounding is None:
        raise ValueError("an operation without its rounding")
    whole = (exact * 2.0**-rounding.shift + (0.5 if rounding.shift > 0 else 0.0)).quantize(1, 47, 0)
    if rounding.low == 0:
        whole = whole.relu()
    return whole.quantize(*_kif(Bounds(-rounding.high - 1, rounding.high)), overflow_mode="SAT")


def _looked_up(x: Symbols, table: Table) -> Symbols:
    half = len(table.table) // 2
    index = (x * 2.0**-table.shift).quantize(1, half.bit_length() - 1, 0)

    def function(places: np.ndarray) -> np.ndarray:
        return table.table[places.astype(np.int64) + half].astype(np.float64)

    return index.apply(function).quantize(*_kif(WORD))


def _kif(bounds: Bounds) -> tuple[int, int, int]:
    """Sign, integer and fraction bits, as da4ml counts them."""
    return int(bounds.signed), bounds.bits - bounds.signed, 0
