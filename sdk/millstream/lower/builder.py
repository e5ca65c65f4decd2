"""Where operators put what they emit: buffers, constants and stages of the program being made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from millstream.lower.expression import constant as literal
from millstream.lower.view import View, row_major
from millstream_runtime.program import (
    DTYPES,
    Accumulated,
    Buffer,
    Expression,
    Reduction,
    Stage,
    neutral,
    rewrite,
)


class Untranslatable(Exception):
    """One node that the lowering cannot express; becomes a Gap, so that all are reported at once."""

    def __init__(self, why: str, help: str = "") -> None:
        super().__init__(why)
        self.help = help


@dataclass(frozen=True)
class Node:
    """One ONNX node with its operands resolved; absent optional inputs are None."""

    operator: str
    inputs: tuple[View | None, ...]
    constants: tuple[np.ndarray | None, ...]
    attributes: dict[str, Any]
    outputs: int

    def view(self, place: int) -> View:
        """The operand at `place`; Untranslatable when it is absent."""
        found = self.inputs[place] if place < len(self.inputs) else None
        if found is None:
            raise Untranslatable(f"input {place} is missing")
        return found

    def optional(self, place: int) -> View | None:
        """The operand at `place`, or None."""
        return self.inputs[place] if place < len(self.inputs) else None

    def known(self, place: int) -> np.ndarray:
        """The constant value of the operand at `place`; Untranslatable when it is not constant."""
        found = self.constants[place] if place < len(self.constants) else None
        if found is None:
            raise Untranslatable(f"input {place} is computed at run time and must be constant")
        return found

    def known_or(self, place: int, default: np.ndarray) -> np.ndarray:
        """Like `known`, with a default for an absent operand."""
        absent = place >= len(self.inputs) or self.inputs[place] is None
        return default if absent else self.known(place)


@dataclass
class Builder:
    """Grows a program stage by stage. Every buffer is scratch until `translate` gives it its role."""

    buffers: list[Buffer] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    origin: str = ""
    _names: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def declare(self, name: str, role: str, dtype: str, shape: Sequence[int]) -> View:
        """A new contiguous buffer and the view of its whole."""
        if dtype not in DTYPES:
            raise Untranslatable(f"dtype {dtype} is not lowered", "cast to float32 in the model")
        size = math.prod(shape)
        self.buffers.append(Buffer(name, role, dtype, size))
        return View(name, dtype, tuple(shape), row_major(shape))

    def allocate(self, dtype: str, shape: Sequence[int]) -> View:
        """A new scratch tensor; the caller must store every element once."""
        return self.declare(f"scratch.{len(self.buffers)}", "scratch", dtype, shape)

    def constant(self, array: np.ndarray) -> View:
        """A constant tensor; equal arrays share one buffer."""
        array = np.ascontiguousarray(array)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._names:
            name = f"weight.{len(self._names)}"
            self.declare(name, "constant", str(array.dtype), array.shape)
            self._names[key] = name
            self.arrays[name] = array
        return View(self._names[key], str(array.dtype), array.shape, row_major(array.shape))

    def is_zero(self, view: View) -> bool:
        """Whether the view is a constant that is 0 everywhere."""
        array = self.arrays.get(view.buffer)
        return array is not None and not array.any()

    def read(self, view: View, axes: Sequence[int] | None = None, rank: int | None = None) -> Expression:
        """Load an element (see `View.load`); a constant that is one value everywhere becomes a literal, which
        a float16 cannot be."""
        array = self.arrays.get(view.buffer)
        if array is not None and array.size == 1 and view.dtype != "float16":
            return literal(array.reshape(-1)[0].item(), view.dtype)
        return view.load(axes, rank)

    def store(self, target: View, value: Expression, reduction: Reduction | None = None) -> View:
        """Emit a stage over the shape of `target`; axes of `value` are those of `target`."""
        extents = target.shape
        if all(extents):
            self.stages.append(Stage(self.origin, extents, reduction, value, target.access()))
        return target

    def map(self, shape: Sequence[int], value: Expression) -> View:
        """A new tensor of `shape`, each element computed by `value`."""
        return self.store(self.allocate(value.dtype, shape), value)

    def copy(self, source: View, target: View) -> View:
        """Store `source` into `target`, which has the same shape."""
        return self.store(target, self.read(source))

    def contiguous(self, view: View) -> View:
        """The view itself when it is row-major, else a copy that is."""
        if view.strides == row_major(view.shape):
            return view
        return self.copy(view, self.allocate(view.dtype, view.shape))

    def reshape(self, view: View, shape: Sequence[int]) -> View:
        """A view when strides can say it, else a copy."""
        found = view.reshape(shape)
        return found or replace_shape(self.contiguous(view), shape)

    def reduce(
        self,
        kind: str,
        shape: Sequence[int],
        inner: Sequence[int],
        operand: Expression,
        value: Expression | None = None,
    ) -> View:
        """A new tensor of `shape`: `operand` (over shape + inner axes) reduced over the inner axes.

        `value` finishes each element and may read `Accumulated`; by default it is the result itself.
        """
        value = value or Accumulated(operand.dtype)
        if not all(inner):
            empty = literal(neutral(kind, operand.dtype), operand.dtype)
            return self.map(shape, rewrite(value, lambda e: empty if isinstance(e, Accumulated) else None))
        return self.store(self.allocate(value.dtype, shape), value, Reduction(kind, tuple(inner), operand))


def replace_shape(view: View, shape: Sequence[int]) -> View:
    """A contiguous view under another shape."""
    return View(view.buffer, view.dtype, tuple(shape), row_major(shape), view.offset)
