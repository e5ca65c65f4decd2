"""A compiled step as a C function of one table of addresses: what TVM's and Numba's code have in common.

The table holds words of the size of a pointer: the number of streams, the address of the weights, the address
of the scratch arena, then one address for each buffer of the caller, in the order of `Program.callers`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from millstream_runtime.backends.arrays import aligned, check_arrays
from millstream_runtime.program import Buffer

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class TableStep:
    """An opened step; bound calls share its code and its weights. See `backends.Step`.

    `address` is that of the C function, which `code` keeps alive.
    """

    def __init__(
        self,
        address: int,
        code: object,
        callers: Sequence[Buffer],
        weights: np.ndarray,
        scratch_bytes: int,
    ) -> None:
        self._function = _FUNCTION(address)
        self._code = code
        self._callers = callers
        self._weights = weights
        self._scratch_bytes = scratch_bytes

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Step.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""
        arrays = [*inputs, *states, *outputs, *next_states]
        batch = check_arrays(self._callers, arrays)
        memory = [self._weights, aligned(self._scratch_bytes), *arrays]
        table = np.array([batch, *(array.ctypes.data for array in memory)], np.uintp)
        function, argument = self._function, ctypes.c_void_p(table.ctypes.data)

        def call(kept: object = (self._code, table, memory)) -> None:  # an address keeps nothing alive
            function(argument)

        return call
