"""A tensor during lowering: a strided window onto a flat buffer.

Slicing, transposing, broadcasting and most reshapes only change the window, so they cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from millstream_runtime.program import Access, Load


@dataclass(frozen=True)
class View:
    """Element (i0, i1, ...) lies at offset + sum(i * stride) of `buffer`; all counted in elements."""

    buffer: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def transpose(self, order: Sequence[int]) -> View:
        """Axes in another order."""
        return replace(
            self,
            shape=tuple(self.shape[axis] for axis in order),
            strides=tuple(self.strides[axis] for axis in order),
        )

    def slice(self, axis: int, start: int, count: int, step: int = 1) -> View:
        """`count` elements of one axis, beginning at `start`, `step` apart (which may be negative)."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = count, strides[axis] * step
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=offset)

    def drop(self, axis: int) -> View:
        """Without one axis of extent 1."""
        return replace(
            self,
            shape=self.shape[:axis] + self.shape[axis + 1 :],
            strides=self.strides[:axis] + self.strides[axis + 1 :],
        )

    def insert(self, axis: int) -> View:
        """With a new axis of extent 1."""
        return replace(
            self,
            shape=(*self.shape[:axis], 1, *self.shape[axis:]),
            strides=(*self.strides[:axis], 0, *self.strides[axis:]),
        )

    def expand(self, shape: Sequence[int]) -> View:
        """Broadcast to `shape` by ONNX (NumPy) rules."""
        missing = len(shape) - len(self.shape)
        own_shape = (1,) * missing + self.shape
        own_strides = (0,) * missing + self.strides
        strides = tuple(0 if own == 1 else stride for own, stride in zip(own_shape, own_strides, strict=True))
        return replace(self, shape=tuple(shape), strides=strides)

    def reshape(self, shape: Sequence[int]) -> View | None:
        """The same elements in row-major order under another shape; None when no strides can say it."""
        strides = _reshaped_strides(self.shape, self.strides, tuple(shape))
        return None if strides is None else replace(self, shape=tuple(shape), strides=strides)

    def split_axis(self, axis: int, extents: Sequence[int]) -> View:
        """One axis seen as several, row-major."""
        inner = row_major(extents)
        return replace(
            self,
            shape=(*self.shape[:axis], *extents, *self.shape[axis + 1 :]),
            strides=(
                *self.strides[:axis],
                *(stride * self.strides[axis] for stride in inner),
                *self.strides[axis + 1 :],
            ),
        )

    def load(self, axes: Sequence[int] | None = None, rank: int | None = None) -> Load:
        """Read the element whose i-th index is stage axis `axes[i]`, in a stage of `rank` axes."""
        return Load(self.access(axes, rank), self.dtype)

    def access(self, axes: Sequence[int] | None = None, rank: int | None = None) -> Access:
        """The address of the element whose i-th index is stage axis `axes[i]` (default: axis i)."""
        axes = range(len(self.shape)) if axes is None else axes
        strides = [0] * (len(self.shape) if rank is None else rank)
        for axis, stride in zip(axes, self.strides, strict=True):
            strides[axis] += stride
        return Access(self.buffer, self.offset, tuple(strides))


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous array of that shape."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def _reshaped_strides(
    shape: tuple[int, ...], strides: tuple[int, ...], new_shape: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Match runs of old axes with runs of new axes of equal product; each old run must be contiguous."""
    old = [(extent, stride) for extent, stride in zip(shape, strides, strict=True) if extent != 1]
    new_strides = [0] * len(new_shape)
    wanted = [axis for axis, extent in enumerate(new_shape) if extent != 1]
    while old and wanted:
        run, group = [old.pop(0)], [wanted.pop(0)]
        product, target = run[0][0], new_shape[group[0]]
        while product != target:
            if product < target:
                if not old:
                    return None
                run.append(old.pop(0))
                product *= run[-1][0]
            else:
                if not wanted:
                    return None
                group.append(wanted.pop(0))
                target *= new_shape[group[-1]]
        if any(a[1] != b[0] * b[1] for a, b in pairwise(run)):
            return None
        stride = run[-1][1]
        for axis in reversed(group):
            new_strides[axis] = stride
            stride *= new_shape[axis]
    return tuple(new_strides)
