"""Matrix products: sums of products over shared axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import add, call, cast, constant, like, multiply, subtract
from millstream.lower.view import View
from millstream_runtime.program import Accumulated, Expression


def _matmul(builder: Builder, node: Node) -> View:
    return product(builder, node.view(0), node.view(1), multiply)


def product(
    builder: Builder,
    a: View,
    b: View,
    term: Callable[[Expression, Expression], Expression],
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
    equation = node.attributes["equation"].decode().replace(" ", "")
    if "..." in equation:
        raise Untranslatable("einsum with an ellipsis", "write the axes out")
    left, _, right = equation.partition("->")
    terms = left.split(",")
    if "->" not in equation:
        letters = "".join(terms)
        right = "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
    views = [node.view(i) for i in range(len(terms))]
    extents = {x: n for term, v in zip(terms, views, strict=True) for x, n in zip(term, v.shape, strict=True)}
    inner = sorted(set("".join(terms)) - set(right))
    axes = {letter: place for place, letter in enumerate([*right, *inner])}
    reads = [
        builder.read(view, [axes[letter] for letter in term], len(axes))
        for term, view in zip(terms, views, strict=True)
    ]
    value = reads[0]
    for read in reads[1:]:
        value = multiply(value, read)
    shape = [extents[letter] for letter in right]
    if not inner:
        return builder.map(shape, value)
    return builder.reduce("sum", shape, [extents[letter] for letter in inner], value)


def _matmul_integer(builder: Builder, node: Node) -> View:
    a, b = node.view(0), node.view(1)
    zeros = [_zero_point(builder, node.optional(place)) for place in (2, 3)]

    def term(x: Expression, y: Expression) -> Expression:
        wide = [cast(value, "int32") for value in (x, y)]
        shifted = [subtract(v, z) if z else v for v, z in zip(wide, zeros, strict=True)]
        return call("multiply", *shifted)

    return product(builder, a, b, term)


def _zero_point(builder: Builder, view: View | None) -> Expression | None:
    if view is None:
        return None
    if view.size != 1:
        raise Untranslatable("a zero point per row or column", "use one zero point per tensor")
    array = builder.arrays.get(view.buffer)
    if array is None:
        raise Untranslatable("a zero point computed at run time")
    value = int(array.reshape(-1)[0])
    return constant(value, "int32") if value else None


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "MatMulInteger": _matmul_integer,
}
