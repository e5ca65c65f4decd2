"""Run half of the TVM backend: a shared library made for one kind of machine. It needs numpy alone.

`step.so` is one C function of a table of addresses (`table.py`), with no trace of TVM in it. `layout.json`
holds the number of scratch bytes and the buffers of the caller, in order, as [name, role, dtype, size].
"""

from __future__ import annotations

import ctypes
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from millstream_runtime import machine
from millstream_runtime.backends.arrays import aligned_copy
from millstream_runtime.backends.table import TableStep
from millstream_runtime.errors import BackendRefused, PlanInvalid
from millstream_runtime.program import CALLER_ROLES, DTYPES, Buffer
from millstream_runtime.spec import ModelSpec, TargetSpec

_SYMBOL = "step"


def missing() -> str:
    """Nothing is."""
    return ""


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> TableStep:
    """Load `step.so`, whose constants lie in `weights.bin`.

    Raises MachineMismatch, BackendRefused when the library cannot be loaded, PlanInvalid.
    """
    machine.check(target.machine)
    scratch_bytes, callers = _layout(files["layout.json"])
    weights = aligned_copy(files["weights.bin"])
    library = _library(files["step.so"])
    address = ctypes.cast(library[_SYMBOL], ctypes.c_void_p).value or 0
    return TableStep(address, library, callers, weights, scratch_bytes)


def _layout(data: bytes) -> tuple[int, tuple[Buffer, ...]]:
    """The bytes of scratch, and the buffers of the caller."""
    try:
        document = json.loads(data)
        scratch_bytes = document["scratch_bytes"]
        buffers = tuple(Buffer(name, role, dtype, size) for name, role, dtype, size in document["callers"])
    except (ValueError, TypeError, KeyError) as error:
        raise PlanInvalid("the layout cannot be read", where="layout.json", why=str(error)) from error
    if type(scratch_bytes) is not int or scratch_bytes < 0:
        raise PlanInvalid("scratch makes no sense", where="layout.json", why=repr(scratch_bytes))
    for buffer in buffers:
        known = buffer.role in CALLER_ROLES and buffer.dtype in DTYPES and isinstance(buffer.name, str)
        if not known or type(buffer.size) is not int or buffer.size < 0:
            raise PlanInvalid("a buffer makes no sense", where="layout.json", why=repr(buffer))
    return scratch_bytes, buffers


def _library(code: bytes) -> ctypes.CDLL:
    """The loaded step. It passes through a file that only this user can read, and that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        path = Path(folder) / "step.so"
        path.write_bytes(code)
        try:
            library = ctypes.CDLL(str(path))
            library[_SYMBOL]  # refuse a library without it here, where the reason can be told
        except (OSError, AttributeError) as error:
            raise BackendRefused(
                "the compiled step cannot be loaded", where="step.so", why=str(error)
            ) from error
    return library
