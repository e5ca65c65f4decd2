"""Arrays that lie on a device, passed between libraries without a copy: DLPack.

https://dmlc.github.io/dlpack/latest/c_api.html, structs of version 0, which every library reads.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

#: The kind of device that CUDA's are.
CUDA = 2
_NAME = b"dltensor"
_CODES = {0: "int", 1: "uint", 2: "float", 6: "bool"}


@dataclass(frozen=True)
class Given:
    """An array of another library: where it begins, and that it is C-contiguous. `owner` keeps it alive."""

    address: int
    shape: tuple[int, ...]
    dtype: str
    is_contiguous: bool
    device: tuple[int, int]
    owner: Any


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_kind", ctypes.c_int32),
        ("device_number", ctypes.c_int32),
        ("dimensions", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))

_api = ctypes.pythonapi
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
# A capsule that goes has no references left, so it is passed by its address.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _api)
)
#: What was given out, by its address, until its taker is done with it.
_given: dict[int, tuple[Any, ...]] = {}


def read(array: Any, stream: int) -> Given:
    """What an array with `__dlpack__` is, ready to be read on that stream of CUDA."""
    capsule = array.__dlpack__(stream=stream)
    managed = _Managed.from_address(_api.PyCapsule_GetPointer(capsule, _NAME))
    tensor = managed.tensor
    shape = tuple(tensor.shape[axis] for axis in range(tensor.dimensions))
    kind = _CODES.get(tensor.dtype.code, "unknown")
    dtype = kind if kind == "bool" else f"{kind}{tensor.dtype.bits}"
    device = (tensor.device_kind, tensor.device_number)
    # The capsule, never marked as used, gives the array back when it goes.
    address = (tensor.data or 0) + tensor.byte_offset
    return Given(address, shape, dtype, _is_contiguous(tensor, shape), device, (array, capsule))


def _is_contiguous(tensor: _Tensor, shape: tuple[int, ...]) -> bool:
    if not tensor.strides:
        return True
    step = 1
    for axis in reversed(range(len(shape))):
        if shape[axis] > 1 and tensor.strides[axis] != step:
            return False
        step *= shape[axis]
    return True


def give(address: int, shape: tuple[int, ...], dtype: str, device: tuple[int, int], owner: Any) -> Any:
    """A capsule of a C-contiguous array; `owner` lives as long as its taker wants it."""
    kind = dtype.rstrip("0123456789")
    code = next(code for code, name in _CODES.items() if name == kind)
    bits = int(dtype.removeprefix(kind) or 8)
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    tensor = _Tensor(address, *device, len(shape), _DataType(code, bits, 1), sizes, None, 0)
    managed = _Managed(tensor, None, _forget)
    place = ctypes.addressof(managed)
    _given[place] = (managed, sizes, owner)
    return _api.PyCapsule_New(place, _NAME, ctypes.cast(_untaken, ctypes.c_void_p))


@_Deleter
def _forget(managed: Any) -> None:
    """The taker is done."""
    _given.pop(ctypes.addressof(managed.contents), None)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _untaken(capsule: int) -> None:
    """A capsule goes; whoever took its array has given it another name."""
    if _is_valid(capsule, _NAME):
        _given.pop(_pointer_of(capsule, _NAME), None)
