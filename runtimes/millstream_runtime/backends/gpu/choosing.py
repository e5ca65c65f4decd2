"""The kernels that copy some rows of an array: those of a pool that stand still, or begin again.

They take a mask (uint8, one for each row), a source and a target, the elements of a row, and how many
elements lie between two rows of the source: none where one row stands for all.
"""

from __future__ import annotations

#: Of a block; it serves so many elements of a row.
THREADS = 256
#: Kernels by the bytes of an element.
KERNELS = {4: "choose_words", 1: "choose_bytes"}


def kernel_for(size: int) -> tuple[str, int]:
    """The kernel for rows of `size` bytes, and how many elements those are."""
    width = 1 if size % 4 else 4
    return KERNELS[width], size // width
