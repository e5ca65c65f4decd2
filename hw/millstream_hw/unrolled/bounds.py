"""Which integers each value of a circuit can be, so that wires and registers have no bit too many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from millstream_hw.circuit import Circuit, Gather, Operation, Table


@dataclass(frozen=True)
class Bounds:
    """The smallest and the largest integer of a value."""

    low: int
    high: int

    @property
    def signed(self) -> bool:
        """Whether a sign bit is needed."""
        return self.low < 0

    @property
    def bits(self) -> int:
        """Bits of it, the sign among them; at least one."""
        return max(self.high.bit_length(), (~self.low).bit_length() if self.signed else 1) + self.signed


WORD = Bounds(-(1 << 15), (1 << 15) - 1)


def bounds(circuit: Circuit) -> dict[str, Bounds]:
    """The bounds of every value and constant, by name.

    They follow from the limits of roundings, the entries of tables and the initial states; an input may be
    any word.
    """
    fixed = {port.name: WORD for port in circuit.inputs}
    fixed |= {name: _around(array.reshape(-1).tolist()) for name, array in circuit.constants.items()}
    states = {state.port.name: _around(state.initial.reshape(-1).tolist()) for state in circuit.states}
    while True:
        found = {**fixed, **states}
        for operation in circuit.operations:
            found[operation.output] = _of(operation, found)
        wider = {s.port.name: _union((found[s.port.name], found[s.following])) for s in circuit.states}
        if wider == states:
            return found
        states = wider


def _of(operation: Operation, found: Mapping[str, Bounds]) -> Bounds:
    if isinstance(operation.work, Table):
        return _around(operation.work.table.tolist())
    if isinstance(operation.work, Gather):
        return _union(found[name] for name in operation.work.sources)
    if operation.rounding is None:
        raise ValueError("an operation without its rounding")
    return Bounds(operation.rounding.low, operation.rounding.high)


def _around(values: Iterable[int]) -> Bounds:
    values = list(values)
    return Bounds(min(values), max(values))


def _union(parts: Iterable[Bounds]) -> Bounds:
    parts = list(parts)
    return Bounds(min(part.low for part in parts), max(part.high for part in parts))
