"""Operators that make a tensor from little: masks, diagonals, one-hot codes, and constants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import add, call, constant, like, select
from millstream.lower.operators.elementwise import onnx_dtype
from millstream.lower.operators.indexing import wrapped
from millstream.lower.view import View
from millstream_runtime.program import AxisIndex


def _trilu(builder: Builder, node: Node) -> View:
    view = node.view(0)
    shift = int(node.known_or(1, np.zeros(1, np.int64)).item())
    rank = len(view.shape)
    row, column = AxisIndex(rank - 2), AxisIndex(rank - 1)
    limit = add(row, constant(shift, "int64"))
    upper = node.attributes.get("upper", 1)
    keep = call("greater_equal" if upper else "less_equal", column, limit)
    value = builder.read(view)
    return builder.map(view.shape, select(keep, value, like(0, value)))


def _eye_like(builder: Builder, node: Node) -> View:
    view = node.view(0)
    code = node.attributes.get("dtype")
    dtype = view.dtype if code is None else onnx_dtype(code)
    return builder.constant(np.eye(*view.shape, k=node.attributes.get("k", 0), dtype=dtype))


def _one_hot(builder: Builder, node: Node) -> View:
    indices, values = node.view(0), node.view(2)
    depth = int(node.known(1).item())
    rank = len(indices.shape) + 1
    axis = node.attributes.get("axis", -1) % rank
    shape = (*indices.shape[:axis], depth, *indices.shape[axis:])
    index = wrapped(builder.read(indices, [a for a in range(rank) if a != axis], rank), depth)
    off, on = (builder.read(values.slice(0, place, 1).drop(0), [], rank) for place in (0, 1))
    return builder.map(shape, select(call("equal", index, AxisIndex(axis)), on, off))


def _constant_only(builder: Builder, node: Node) -> View:
    """Such a node is a constant long before it comes here, unless its operands are computed."""
    raise Untranslatable("the shape of its result is only known at run time", "use sizes that are constant")


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "Trilu": _trilu,
    "EyeLike": _eye_like,
    "OneHot": _one_hot,
    "ConstantOfShape": _constant_only,
    "Range": _constant_only,
}
