"""Run half of the Numba backend: any machine with numpy and numba.

The bundle brings data only: `plan.json`, a program checked when it is read, and `weights.bin`. The loops
are printed here (`printer.py`) and compiled here (`cache.py`) into one C function, called through ctypes
because that costs a third of a microsecond and lets other threads run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from millstream_runtime import plan
from millstream_runtime.backends.arrays import aligned_copy, check_weights
from millstream_runtime.backends.numba.printer import print_program
from millstream_runtime.backends.table import TableStep
from millstream_runtime.errors import BackendMissing
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
    from millstream_runtime.backends.numba.cache import compile_source
    from millstream_runtime.backends.numba.dots import dot_product

    dot = dot_product()
    if dot.unsigned:
        shifted = shift_dots(program, weights)
        program, weights = shifted.program, shifted.weights
    compiled = compile_source(print_program(program, dot.parts))
    return TableStep(
        compiled.address, compiled, program.callers, aligned_copy(weights), program.scratch_bytes
    )
