"""Memory that run halves own, and the check of the arrays that they are given."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence

import numpy as np

from millstream_runtime.errors import PlanInvalid, WrongDtype, WrongShape
from millstream_runtime.program import Buffer

#: A cache line, and the widest vector register.
ALIGNMENT = 64
#: A byte of fresh memory: NaN in any float.
POISON = 255
#: Of x86-64 and of aarch64 with pages of 4 KiB.
_HUGE_PAGE = 1 << 21


def aligned(size: int) -> np.ndarray:
    """A uint8 array of `size` bytes on a 64-byte boundary, filled with poison: NaN as any float."""
    room = np.full(size + ALIGNMENT, POISON, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size]


def check_weights(data: bytes, size: int) -> None:
    """Raise PlanInvalid when weights are not `size` bytes long."""
    if len(data) != size:
        raise PlanInvalid(
            "the weights do not belong to this plan", why=f"{len(data)} bytes, the plan says {size}"
        )


def aligned_copy(data: bytes) -> np.ndarray:
    """`data` on a 64-byte boundary."""
    size = len(data)
    copy = _huge(size) if size >= _HUGE_PAGE // 4 else aligned(size)
    copy[:] = np.frombuffer(data, np.uint8)
    return copy


def _huge(size: int) -> np.ndarray:
    """A uint8 array of `size` bytes on huge pages where the system has them, else on ordinary ones.

    Weights are read in full at every step. On one huge page they neither miss the page tables nor, by chance,
    crowd in one part of the cache while another is empty.
    """
    memory = mmap.mmap(-1, size + -size % _HUGE_PAGE + _HUGE_PAGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # A kernel without huge pages says so; its ordinary pages do.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    room = np.frombuffer(memory, np.uint8)
    start = -room.ctypes.data % _HUGE_PAGE
    return room[start : start + size]


def check_arrays(buffers: Sequence[Buffer], arrays: Sequence[np.ndarray], rows: int | None = None) -> int:
    """The rows of `arrays`, one array per buffer: C-contiguous, of its dtype, `size` elements a row.

    All have as many rows as the first one, or `rows` when that is given. Raises WrongShape or WrongDtype for
    the first array that does not fit: compiled code trusts addresses.
    """
    if len(arrays) != len(buffers):
        raise WrongShape(f"{len(arrays)} arrays for {len(buffers)} tensors of the step")
    count = rows or (arrays[0].shape[0] if arrays and arrays[0].ndim else 0)
    for buffer, array in zip(buffers, arrays, strict=True):
        if array.dtype.name != buffer.dtype:
            raise WrongDtype(f"{array.dtype.name} given, {buffer.dtype} wanted", where=buffer.name)
        if array.shape[:1] != (count,) or array.size != count * buffer.size or not array.flags.c_contiguous:
            raise WrongShape(
                f"an array of shape {array.shape}",
                where=buffer.name,
                why=f"wanted C-contiguous, {count} rows of {buffer.size} elements",
            )
    return count
