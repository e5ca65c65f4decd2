"""Where every value of a circuit lies in the data memory.

A value is known by the address of each of its elements, so a slice or a transpose costs nothing. A part of a
concatenation is placed inside the whole when nothing forbids it, and then that costs nothing either.
"""

from __future__ import annotations

import numpy as np

from millstream_hw.circuit import Circuit, Gather, Operation


class Memory:
    """A data memory that fills up; `contents` are its words after configuration.

    Nothing is ever freed: a step of a streaming model needs little more than its states, and a memory that
    no two values share cannot be wrong about lifetimes.
    """

    def __init__(self, circuit: Circuit) -> None:
        self.contents: list[int] = [0, 1]
        self.addresses: dict[str, np.ndarray] = {}
        self._circuit = circuit
        self._constants: dict[tuple[int, ...], int] = {}

    #: Addresses of the words 0 and 1, which are there in every image.
    ZERO, ONE = 0, 1

    def reserve(self, size: int) -> np.ndarray:
        """Addresses of a new block."""
        start = len(self.contents)
        self.contents += [0] * size
        return np.arange(start, start + size)

    def constant(self, values: np.ndarray) -> np.ndarray:
        """Addresses of int16 constants, which lie there from the start; equal arrays lie there once."""
        key = tuple(int(value) for value in values.reshape(-1))
        if key not in self._constants:
            self._constants[key] = len(self.contents)
            self.contents += key
        return self._constants[key] + np.arange(len(key))

    def place_all(self) -> None:
        """Give inputs, states, constants and results their addresses; gathers only where they are views."""
        circuit = self._circuit
        block = self.reserve(sum(port.size for port in circuit.inputs))
        start = 0
        for port in circuit.inputs:
            self.addresses[port.name] = block[start : start + port.size]
            start += port.size
        for name, values in circuit.constants.items():
            self.addresses[name] = self.constant(values)
        sizes = {state.port.name: state.port.size for state in circuit.states}
        for operation in circuit.operations:
            if not isinstance(operation.work, Gather):
                sizes[operation.output] = operation.size
        self._place_parts(sizes)
        for name, size in sizes.items():
            if name not in self.addresses:
                self.addresses[name] = self.reserve(size)

    def _place_parts(self, sizes: dict[str, int]) -> None:
        """Put results and states that a concatenation reads whole and in order inside of it."""
        alias: dict[str, str] = {}
        for operation in self._circuit.operations:
            work = operation.work
            if not isinstance(work, Gather):
                continue
            if len(work.sources) == 1:
                if np.array_equal(work.index, np.arange(self._size(work.sources[0]))):
                    alias[operation.output] = alias.get(work.sources[0], work.sources[0])
                continue
            self._join(operation, work, alias, sizes)

    def _join(self, operation: Operation, work: Gather, alias: dict[str, str], sizes: dict[str, int]) -> None:
        block = self.reserve(operation.size)
        self.addresses[operation.output] = block
        start = 0
        for source in work.sources:
            size = self._size(source)
            (where,) = np.nonzero((work.index >= start) & (work.index < start + size))
            start += size
            name = alias.get(source, source)
            in_order = np.array_equal(work.index[where], np.arange(start - size, start))
            if name in sizes and name not in self.addresses and in_order:
                self.addresses[name] = block[where]

    def _size(self, name: str) -> int:
        return int(np.prod(self._circuit.shape(name), dtype=np.int64))
