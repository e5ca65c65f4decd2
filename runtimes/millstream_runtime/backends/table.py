"""A compiled step as C functions of a table of addresses: what TVM's and Numba's code have in common.

A table holds words of the size of a pointer: how many times the function is to run, the address of the
weights, the address of the scratch arena, then one address for each buffer of the caller, in the order of
`Program.callers`. From one run to the next the function goes on by what it takes at once: one stream, a batch
of streams, or several frames of one stream.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from millstream_runtime.backends.arrays import aligned, check_arrays
from millstream_runtime.program import Buffer

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Routine(Protocol):
    """One compiled function."""

    def bind(
        self, code: object, runs: int, weights: np.ndarray, arrays: Sequence[np.ndarray]
    ) -> Callable[[], None]:
        """A call that runs it `runs` times, with a table of its own, on the caller's arrays.

        The call keeps `code` alive.
        """
        ...


@dataclass(frozen=True)
class Native:
    """A function of this process: its address, and the bytes of its scratch. See `Routine`."""

    address: int
    scratch_bytes: int

    def bind(
        self, code: object, runs: int, weights: np.ndarray, arrays: Sequence[np.ndarray]
    ) -> Callable[[], None]:
        memory = [weights, aligned(self.scratch_bytes), *arrays]
        table = np.array([runs, *(array.ctypes.data for array in memory)], np.uintp)
        function, argument = _FUNCTION(self.address), ctypes.c_void_p(table.ctypes.data)

        def call(kept: object = (code, table, memory)) -> None:  # an address keeps nothing alive
            function(argument)

        return call


class Code(Protocol):
    """The functions of a step; it keeps them alive. `streams` and `frames` are 0 where there is no such
    function.

    A function may be compiled when it is first asked for, by several threads at once.
    """

    @property
    def streams(self) -> int: ...

    @property
    def frames(self) -> int: ...

    def one(self) -> Routine:
        """Takes one stream at a time."""
        ...

    def batch(self) -> Routine:
        """Takes `streams` streams at a time."""
        ...

    def chunk(self) -> Routine:
        """Takes `frames` frames of one stream at a time."""
        ...


class TableStep:
    """An opened step; bound calls share its code and its weights. See `backends.Step`."""

    def __init__(self, code: Code, callers: Sequence[Buffer], weights: np.ndarray) -> None:
        self._code = code
        self._callers = callers
        self._weights = weights
        self.chunks = _TableChunks(code, callers, weights) if code.frames else None

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Step.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""
        arrays = [*inputs, *states, *outputs, *next_states]
        streams = check_arrays(self._callers, arrays)
        runs, rest = divmod(streams, self._code.streams) if self._code.streams else (0, streams)
        if not runs:
            return self._code.one().bind(self._code, rest, self._weights, arrays)
        together = self._code.batch().bind(self._code, runs, self._weights, arrays)
        if not rest:
            return together
        last = [array[streams - rest :] for array in arrays]
        alone = self._code.one().bind(self._code, rest, self._weights, last)

        def call() -> None:
            together()
            alone()

        return call


class _TableChunks:
    """See `backends.Chunks`."""

    def __init__(self, code: Code, callers: Sequence[Buffer], weights: np.ndarray) -> None:
        self.frames = code.frames
        self._code = code
        self._moving = [buffer for buffer in callers if buffer.role in ("input", "output")]
        self._staying = [buffer for buffer in callers if buffer.role not in ("input", "output")]
        self._weights = weights

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Chunks.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""
        check_arrays(self._moving, [*inputs, *outputs], self.frames)
        check_arrays(self._staying, [*states, *next_states], 1)
        arrays = [*inputs, *states, *outputs, *next_states]
        return self._code.chunk().bind(self._code, 1, self._weights, arrays)
