"""Run half of the TVM backend: a shared library made for one kind of machine. It needs numpy alone.

`step.so` holds C functions of a table of addresses (`table.py`), with no trace of TVM in them. `layout.json`
holds the buffers of the caller, in order, as [name, role, dtype, size], and for each function how much it
takes at once, and the bytes of its scratch.
"""

from __future__ import annotations

import ctypes
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from millstream_runtime import machine
from millstream_runtime.backends.arrays import aligned_copy
from millstream_runtime.backends.callers import is_size, layout_invalid, read_callers
from millstream_runtime.backends.table import Native, Routine, TableStep
from millstream_runtime.errors import BackendRefused
from millstream_runtime.program import Buffer
from millstream_runtime.spec import ModelSpec, TargetSpec

#: The functions that a library may have; the first it must.
ONE, BATCH, CHUNK = "step", "batch", "chunk"


def missing() -> str:
    """Nothing is."""
    return ""


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> TableStep:
    """Load `step.so`, whose constants lie in `weights.bin`.

    Raises MachineMismatch, BackendRefused when the library cannot be loaded, PlanInvalid.
    """
    machine.check(target.machine)
    layout = read_layout(files["layout.json"])
    code = _Library(_library(files["step.so"]), layout)
    return TableStep(code, layout.callers, aligned_copy(files["weights.bin"]))


@dataclass(frozen=True)
class Layout:
    """`layout.json`: the buffers of the caller; how much each function takes at once, and its scratch
    bytes."""

    callers: tuple[Buffer, ...]
    functions: Mapping[str, tuple[int, int]]


class _Library:
    """The functions of a loaded library; see `table.Code`."""

    def __init__(self, library: ctypes.CDLL, layout: Layout) -> None:
        self._library = library
        self._routines = {
            name: Native(_address(library, name), scratch) for name, (_, scratch) in layout.functions.items()
        }
        self.streams, self.frames = (layout.functions.get(name, (0, 0))[0] for name in (BATCH, CHUNK))

    def one(self) -> Routine:
        return self._routines[ONE]

    def batch(self) -> Routine:
        return self._routines[BATCH]

    def chunk(self) -> Routine:
        return self._routines[CHUNK]


def read_layout(data: bytes) -> Layout:
    """Check and read `layout.json`. Raises PlanInvalid."""
    try:
        document = json.loads(data)
        callers = read_callers(document["callers"])
        functions = {name: (count, scratch) for name, (count, scratch) in document["functions"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise layout_invalid("the layout cannot be read", str(error)) from error
    for name, sizes in functions.items():
        if name not in (ONE, BATCH, CHUNK) or not all(map(is_size, sizes)) or not sizes[0]:
            raise layout_invalid("a function makes no sense", f"{name} {sizes}")
    if ONE not in functions:
        raise layout_invalid("the step itself is not among the functions", ", ".join(functions))
    return Layout(callers, functions)


def _library(code: bytes) -> ctypes.CDLL:
    """The loaded step. It passes through a file that only this user can read, and that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        path = Path(folder) / "step.so"
        path.write_bytes(code)
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            raise _refused(str(error)) from error


def _address(library: ctypes.CDLL, name: str) -> int:
    try:
        return ctypes.cast(library[name], ctypes.c_void_p).value or 0
    except AttributeError as error:
        raise _refused(str(error)) from error


def _refused(why: str) -> BackendRefused:
    return BackendRefused("the compiled step cannot be loaded", where="step.so", why=why)
