"""A step to machine code, kept in the user's cache directory.

The step is a Python function of one line; its body is written as LLVM's instructions while Numba compiles
it. Numba keys its cache on a file's name, time and size, so there is a file for each step, named after
everything that its code is made from, and never read. The directory must belong to the user alone; otherwise
nothing is cached.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import llvmlite
import numba
from numba import types
from numba.extending import intrinsic

import millstream_runtime
from millstream_runtime.backends.numba.values import POINTER, WORD, Builder, Value
from millstream_runtime.cache_folder import cache_folder

_SIGNATURE = types.void(types.CPointer(types.int64))
_SOURCE = "def step(table):\n    body(table)\n"


def compile_step(write: Callable[[Builder, Value], None], identity: bytes) -> Any:
    """The compiled `step(table)`, a CFunc; its `address` is that of a C function, valid while it lives.

    `write` gets the builder of the function's body and the address of its table; all that it depends on
    beside this package and the CPU is in `identity`.
    """
    file = _cached_file(identity)
    if file:
        # A cache that cannot be read, or filled because the disk is full, is worth no failure.
        with contextlib.suppress(OSError, EOFError, UnpicklingError):
            return numba.cfunc(_SIGNATURE, cache=True)(_step(write, str(file), file.stem))
    return numba.cfunc(_SIGNATURE)(_step(write, "<millstream step>", "step"))


def _step(write: Callable[[Builder, Value], None], file: str, name: str) -> Callable[..., None]:
    """The function, called `name`: steps of one process must differ in name."""

    @intrinsic
    def body(typing: Any, table: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Any:
            address = builder.ptrtoint(arguments[0], WORD)
            write(builder, builder.inttoptr(address, POINTER))
            return context.get_dummy_value()

        return types.void(table), generate

    # Numba imports the module of a cached function by its name, so it must be one that exists.
    space: dict[str, Any] = {"__name__": __name__, "body": body}
    exec(compile(_SOURCE, file, "exec"), space)
    step = space["step"]
    step.__name__ = step.__qualname__ = name
    return step


def _cached_file(identity: bytes) -> Path | None:
    """The file that stands for a step in the cache, or None when there can be no cache."""
    key = hashlib.sha256(_versions() + identity).hexdigest()[:32]
    try:
        file = _folder() / f"step_{key}.py"
        if not file.is_file() or file.read_text() != _SOURCE:
            _replace(file, _SOURCE.encode())
    except OSError:
        return None
    return file


@cache
def _versions() -> bytes:
    """Hash of what machine code is made with, but for the CPU, which Numba adds."""
    root = Path(millstream_runtime.__file__).parent
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for source in sorted(root.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.digest()


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
