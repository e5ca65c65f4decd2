"""Run half of the TVM backend: a shared library made for one kind of machine.

Of TVM it needs `libtvm_ffi` alone, taken from the package apache-tvm-ffi without importing it (its import
would pull in torch where torch is installed). The step follows TVM's packed calling convention, whose C
structures are fixed in `tvm/ffi/c_api.h` and `dlpack.h`: an array of tagged values, tensors by pointer.
They are filled once, when a call is bound.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from millstream_runtime import machine
from millstream_runtime.backends.arrays import aligned, aligned_copy, check_arrays
from millstream_runtime.errors import BackendMissing, BackendRefused, PlanInvalid
from millstream_runtime.program import DTYPES, ROLES, Buffer, item_size
from millstream_runtime.spec import ModelSpec, TargetSpec

_INSTALL = "pip install 'millstream[tvm]'"
_SYMBOL = "__tvm_ffi_step"
_CPU = 1
_INTEGER, _TENSOR = 1, 7
_OWN = ("constant", "scratch")
_CODES = {"int": 0, "uint": 1, "float": 2}


class _Tensor(ctypes.Structure):
    """`DLTensor`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Value(ctypes.Structure):
    """`TVMFFIAny`, holding an integer or a pointer."""

    _fields_ = (("type_index", ctypes.c_int32), ("padding", ctypes.c_uint32), ("value", ctypes.c_int64))


def missing() -> str:
    """Empty when apache-tvm-ffi is installed, else the line that installs it."""
    return "" if importlib.util.find_spec("tvm_ffi") else _INSTALL


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> TvmStep:
    """Load `step.so`, whose parameters `layout.json` lists and whose constants lie in `weights.bin`.

    Raises MachineMismatch, BackendMissing, BackendRefused when the library cannot be loaded, PlanInvalid.
    """
    machine.check(target.machine)
    layout = _layout(files["layout.json"])
    weights = aligned_copy(files["weights.bin"], len(files["weights.bin"]))
    for buffer in layout:
        if buffer.role == "constant" and buffer.size * item_size(buffer.dtype) > weights.size:
            raise PlanInvalid("the weights are too short", where="weights.bin")
    return TvmStep(_library(files["step.so"]), layout, weights)


def _layout(data: bytes) -> tuple[Buffer, ...]:
    """The parameters of the step, in order: a list of [name, role, dtype, size]."""
    try:
        buffers = tuple(Buffer(name, role, dtype, size) for name, role, dtype, size in json.loads(data))
    except (ValueError, TypeError) as error:
        raise PlanInvalid("the layout cannot be read", where="layout.json", why=str(error)) from error
    for buffer in buffers:
        known = buffer.role in ROLES and buffer.dtype in DTYPES and isinstance(buffer.name, str)
        if not known or type(buffer.size) is not int or buffer.size < 0:
            raise PlanInvalid("a parameter makes no sense", where="layout.json", why=repr(buffer))
    return buffers


def _library(code: bytes) -> ctypes.CDLL:
    """The loaded step. It passes through a file that only this user can read, and that is gone afterwards."""
    _load_runtime()
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        path = Path(folder) / "step.so"
        path.write_bytes(code)
        try:
            library = ctypes.CDLL(str(path))
            library[_SYMBOL].restype = ctypes.c_int
        except (OSError, AttributeError) as error:
            raise BackendRefused(
                "the compiled step cannot be loaded", where="step.so", why=str(error)
            ) from error
    return library


def _load_runtime() -> None:
    """Make libtvm_ffi's symbols visible to the step, which reports refused arguments through it."""
    found = importlib.util.find_spec("tvm_ffi")
    if found is None or not found.submodule_search_locations:
        raise BackendMissing("apache-tvm-ffi is not installed", fix=_INSTALL)
    name = {"darwin": "libtvm_ffi.dylib", "win32": "tvm_ffi.dll"}.get(sys.platform, "libtvm_ffi.so")
    path = os.path.join(found.submodule_search_locations[0], "lib", name)
    try:
        ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise BackendMissing("libtvm_ffi cannot be loaded", why=str(error), fix=_INSTALL) from error


class TvmStep:
    """A loaded step; bound calls share its code and its weights."""

    def __init__(self, library: ctypes.CDLL, layout: tuple[Buffer, ...], weights: np.ndarray) -> None:
        self._library = library
        self._layout = layout
        self._weights = weights

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Step.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""
        arrays = [*inputs, *states, *outputs, *next_states]
        batch = check_arrays([buffer for buffer in self._layout if buffer.role not in _OWN], arrays)
        given = iter(arrays)
        memory = [self._own(buffer) if buffer.role in _OWN else next(given) for buffer in self._layout]
        tensors = [_tensor(array, b.dtype) for array, b in zip(memory, self._layout, strict=True)]
        return _call(self._library, batch, tensors, memory)

    def _own(self, buffer: Buffer) -> np.ndarray:
        size = buffer.size * item_size(buffer.dtype)
        return self._weights[:size] if buffer.role == "constant" else aligned(size)


def _call(
    library: ctypes.CDLL, batch: int, tensors: list[_Tensor], memory: list[np.ndarray]
) -> Callable[[], None]:
    """The step with its arguments filled in."""
    values = (_Value * (1 + len(tensors)))(_Value(_INTEGER, 0, batch))
    for place, tensor in enumerate(tensors, start=1):
        values[place] = _Value(_TENSOR, 0, ctypes.addressof(tensor))
    result = _Value()
    function = library[_SYMBOL]
    arguments = (None, ctypes.byref(values), len(values), ctypes.byref(result))

    def call(kept: object = (tensors, memory)) -> None:  # the arguments hold no more than addresses
        if function(*arguments):
            raise BackendRefused("the compiled step refused its arguments", where="step.so")

    return call


def _tensor(array: np.ndarray, dtype: str) -> _Tensor:
    """A flat view of `array` for the library; a bool is passed as uint8."""
    stored = "uint8" if dtype == "bool" else dtype
    bits = item_size(stored) * 8
    code = _CODES[stored.removesuffix(str(bits))]
    shape, strides = (ctypes.c_int64 * 1)(array.nbytes * 8 // bits), (ctypes.c_int64 * 1)(1)
    return _Tensor(array.ctypes.data, _CPU, 0, 1, code, bits, 1, shape, strides, 0)
