"""Printed source to machine code, kept in the user's cache directory.

What is executed is always the text just printed, never the file: the file is there because Numba keys its
cache on a file's name, time and size. A file with other bytes is replaced, which makes Numba compile
anew. The directory must belong to the user alone; otherwise nothing is cached.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numba
import numpy as np

from millstream_runtime import polynomials
from millstream_runtime.backends.numba import dots, functions, intrinsics, vectors
from millstream_runtime.cache_folder import cache_folder

#: What the printed source calls.
_MODULES = (intrinsics, functions, vectors, dots)
_SIGNATURE = numba.types.void(numba.types.CPointer(numba.types.int64))


def compile_source(source: str) -> Any:
    """The compiled `step(table)`, a CFunc; its `address` is that of a C function, valid while it lives."""
    file = _cached_file(source)
    if file:
        # A cache that cannot be read, or filled because the disk is full, is worth no failure.
        with contextlib.suppress(OSError, EOFError, UnpicklingError):
            return _compile(_execute(source, str(file), file.stem), cache=True)
    return _compile(_execute(source, "<millstream step>", "step"), cache=False)


def _execute(source: str, file: str, name: str) -> Callable[..., None]:
    """The printed function, called `name`: steps of one process must differ in name."""
    space = _namespace()
    exec(compile(source, file, "exec"), space)
    step = space["step"]
    step.__name__ = step.__qualname__ = name
    return step


def _compile(step: Callable[..., None], cache: bool) -> Any:
    # NumPy's error model: division by zero gives infinity where Python would raise.
    return numba.cfunc(_SIGNATURE, cache=cache, error_model="numpy")(step)


def _namespace() -> dict[str, Any]:
    """What the printed source may call."""
    # Numba imports the module of a cached function by its name, so it must be one that exists.
    space: dict[str, Any] = {"__name__": __name__, "math": math, "np": np, "inf": math.inf, "nan": math.nan}
    space.update({name: getattr(np, name) for name in intrinsics.POINTERS if name != "bool"})
    space.update({f"POINTERS_{name}": pointer for name, pointer in intrinsics.POINTERS.items()})
    space.update({f"SATURATE_{name}": cast for name, cast in intrinsics.SATURATE.items()})
    space["part"] = numba.njit(**functions.OPTIONS)
    for module in _MODULES:
        space.update({name: function for name, function in vars(module).items() if name[0].islower()})
    return space


def _cached_file(source: str) -> Path | None:
    """The file that holds exactly `source` in the cache, or None when there can be no cache."""
    try:
        folder = _folder()
        file = folder / f"step_{_key(source)}.py"
        if not file.is_file() or file.read_bytes() != source.encode():
            _replace(file, source.encode())
    except OSError:
        return None
    return file


def _key(source: str) -> str:
    """Hash of everything that the machine code is made from, but for the CPU, which Numba adds."""
    parts = [source.encode(), numba.__version__.encode(), np.__version__.encode()]
    parts += [inspect.getsource(module).encode() for module in (*_MODULES, polynomials)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _folder() -> Path:
    """The cache directory, made when missing. Raises OSError when others could write in it."""
    folder = cache_folder() / "numba"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.stat()
    if hasattr(os, "getuid") and (facts.st_uid != os.getuid() or facts.st_mode & 0o022):
        raise PermissionError(f"others can write in {folder}")
    return folder


def _replace(file: Path, content: bytes) -> None:
    """Write in one step: another process sees the old file or the new one."""
    handle, temporary = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
        os.replace(temporary, file)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
