"""Matrix products: sums of products over shared axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from millstream.lower.builder import Builder, Node
from millstream.lower.expression import add, like, multiply
from millstream.lower.view import View
from millstream_runtime.program import Accumulated, Expression


def _matmul(builder: Builder, node: Node) -> View:
    return product(builder, node.view(0), node.view(1))


def product(
    builder: Builder,
    a: View,
    b: View,
    term: Callable[[Expression, Expression], Expression] = multiply,
) -> View:
    """Batched matrix product by NumPy rules; `term` combines one element of each operand."""
    row, column = len(a.shape) == 1, len(b.shape) == 1
    a = a.insert(0) if row else a
    b = b.insert(1) if column else b
    outer = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows, inner, columns = a.shape[-2], a.shape[-1], b.shape[-1]
    rank = len(outer)
    m, n, k = rank, rank + 1, rank + 2
    left = a.expand((*outer, rows, inner))
    right = b.expand((*outer, inner, columns))
    operand = term(
        builder.read(left, (*range(rank), m, k), rank + 3),
        builder.read(right, (*range(rank), k, n), rank + 3),
    )
    result = builder.reduce("sum", (*outer, rows, columns), (inner,), operand)
    result = result.drop(n) if column else result
    return result.drop(m) if row else result


def _gemm(builder: Builder, node: Node) -> View:
    a, b, c = node.view(0), node.view(1), node.optional(2)
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    a = a.transpose((1, 0)) if node.attributes.get("transA", 0) else a
    b = b.transpose((1, 0)) if node.attributes.get("transB", 0) else b
    shape = (a.shape[0], b.shape[1])
    operand = multiply(builder.read(a, (0, 2), 3), builder.read(b, (2, 1), 3))
    value: Expression = Accumulated(a.dtype)
    if alpha != 1:
        value = multiply(like(alpha, value), value)
    if c is not None:
        bias = builder.read(c.expand(shape))
        value = add(value, bias if beta == 1 else multiply(like(beta, bias), bias))
    return builder.reduce("sum", shape, (a.shape[1],), operand, value)


def _einsum(builder: Builder, node: Node) -> View:
    views = [node.view(i) for i in range(len(node.inputs))]
    equation = node.attributes["equation"].decode().replace(" ", "")
    terms, right = _labels(equation, [len(view.shape) for view in views])
    extents: dict[str, int] = {}
    for term, view in zip(terms, views, strict=True):
        for label, extent in zip(term, view.shape, strict=True):
            extents[label] = max(extent, extents.get(label, extent)) if extent else 0
    inner = sorted(set("".join(terms)) - set(right))
    axes = {label: place for place, label in enumerate([*right, *inner])}
    value = reduce(
        multiply,
        (
            builder.read(view.expand([extents[x] for x in term]), [axes[x] for x in term], len(axes))
            for term, view in zip(terms, views, strict=True)
        ),
    )
    shape = [extents[label] for label in right]
    if not inner:
        return builder.map(shape, value)
    return builder.reduce("sum", shape, [extents[label] for label in inner], value)


def _labels(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """One label per axis of every operand and of the result; an ellipsis gets labels of its own."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = "".join(terms).replace(".", "")
        right = "..." + "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
    hidden = [rank - len(term) + 3 if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)]
    # The axes of an ellipsis are counted from the last, so digits name them from there.
    names = "".join(str(place) for place in reversed(range(max(hidden))))
    written = [
        term.replace("...", names[len(names) - count :]) for term, count in zip(terms, hidden, strict=True)
    ]
    return written, right.replace("...", names)


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
}
