"""Run half of the Numba backend: any machine with numpy and numba.

The bundle brings data only: `plan.json`, a program checked when it is read, and `weights.bin`. The kernels
are written here (`step.py`) and compiled here (`cache.py`) into one C function, called through ctypes because
that costs a third of a microsecond and lets other threads run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Callable, Mapping

from millstream_runtime import plan
from millstream_runtime.backends.arrays import aligned_copy, check_weights
from millstream_runtime.backends.table import Native, Routine, TableStep
from millstream_runtime.batched import STREAMS, batched
from millstream_runtime.chunked import FRAMES, chunked
from millstream_runtime.errors import BackendMissing
from millstream_runtime.program import Program
from millstream_runtime.spec import ModelSpec, TargetSpec
from millstream_runtime.unsigned import shift_dots

_INSTALL = "pip install 'millstream[numba]'"


def missing() -> str:
    """Empty when numba is installed, else the line that installs it."""
    return "" if importlib.util.find_spec("numba") else _INSTALL


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> TableStep:
    """Print and compile `plan.json`. Raises PlanInvalid, or BackendMissing without numba."""
    program, weights = plan.load(files["plan.json"]), files["weights.bin"]
    check_weights(weights, program.weight_bytes)
    if missing():
        raise BackendMissing("numba is not installed", fix=missing())
    from millstream_runtime.backends.numba.cpu import this_cpu

    if this_cpu().dot.unsigned:
        shifted = shift_dots(program, weights)
        program, weights = shifted.program, shifted.weights
    code = _Compiled(program, hashlib.sha256(files["plan.json"]).digest())
    code.one()
    return TableStep(code, program.callers, aligned_copy(weights))


class _Compiled:
    """The functions of a step, each compiled when it is first asked for; see `table.Code`."""

    streams = STREAMS
    frames = FRAMES

    def __init__(self, program: Program, identity: bytes) -> None:
        self._program = program
        self._identity = identity
        self._lock = threading.Lock()
        self._functions: dict[str, tuple[Routine, object]] = {}

    def one(self) -> Routine:
        return self._routine("step", lambda: self._program)

    def batch(self) -> Routine:
        return self._routine("batch", lambda: batched(self._program, STREAMS))

    def chunk(self) -> Routine:
        return self._routine("chunk", lambda: chunked(self._program, FRAMES))

    def _routine(self, name: str, make: Callable[[], Program]) -> Routine:
        from millstream_runtime.backends.numba.cache import compile_step
        from millstream_runtime.backends.numba.cpu import this_cpu
        from millstream_runtime.backends.numba.step import write_step

        with self._lock:
            if name not in self._functions:
                program = make()
                function = compile_step(
                    lambda builder, table: write_step(builder, table, program, this_cpu()),
                    self._identity + name.encode(),
                )
                # The function is kept, because its address does not keep it alive.
                self._functions[name] = (Native(function.address, program.scratch_bytes), function)
            return self._functions[name][0]
