"""Run half of the Numba backend: any machine with numpy and numba.

The bundle brings data only: `plan.json`, a program checked when it is read, and `weights.bin`. The loops
are printed here (`printer.py`) and compiled here (`cache.py`) into one C function, called through ctypes
because that costs a third of a microsecond and lets other threads run.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from millstream_runtime import plan
from millstream_runtime.backends.arrays import aligned, aligned_copy, check_arrays
from millstream_runtime.backends.numba.printer import caller_buffers, print_program
from millstream_runtime.errors import BackendMissing
from millstream_runtime.program import Program
from millstream_runtime.spec import ModelSpec, TargetSpec

_INSTALL = "pip install 'millstream[numba]'"
_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def missing() -> str:
    """Empty when numba is installed, else the line that installs it."""
    return "" if importlib.util.find_spec("numba") else _INSTALL


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> NumbaStep:
    """Print and compile `plan.json`. Raises PlanInvalid, or BackendMissing without numba."""
    program = plan.load(files["plan.json"])
    weights = aligned_copy(files["weights.bin"], program.weight_bytes)
    if missing():
        raise BackendMissing("numba is not installed", fix=missing())
    from millstream_runtime.backends.numba.cache import compile_source

    return NumbaStep(program, weights, compile_source(print_program(program)))


class NumbaStep:
    """A compiled step; bound calls share its code and its weights."""

    def __init__(self, program: Program, weights: np.ndarray, compiled: Any) -> None:
        self._buffers = caller_buffers(program)
        self._scratch_bytes = program.scratch_bytes
        self._weights = weights
        self._compiled = compiled

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Step.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""
        arrays = [*inputs, *states, *outputs, *next_states]
        batch = check_arrays(self._buffers, arrays)
        memory = [self._weights, aligned(self._scratch_bytes), *arrays]
        table = np.array([batch, *(array.ctypes.data for array in memory)], np.int64)
        function = _FUNCTION(self._compiled.address)
        address = table.ctypes.data

        def call(kept: object = (self._compiled, table, memory)) -> None:  # an address keeps nothing alive
            function(address)

        return call
