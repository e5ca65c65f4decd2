"""Operators on the bits of integers."""

from __future__ import annotations

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import call, cast, like, select
from millstream.lower.operators.elementwise import Translator, broadcast, plain
from millstream.lower.view import View
from millstream_runtime.program import Expression


def _not(builder: Builder, node: Node) -> View:
    view = node.view(0)
    ones = int(np.invert(np.zeros((), view.dtype)))
    return broadcast(builder, [view], lambda x: call("bit_xor", x, like(ones, x)))


def _shift(builder: Builder, node: Node) -> View:
    """Shifts of unsigned integers, as products with a power of two and quotients by it.

    The power has room in 64 bits; to shift by the width or more leaves nothing.
    """
    x = node.view(0)
    if not x.dtype.startswith("u"):
        raise Untranslatable("a shift of signed integers", "cast to an unsigned integer")
    width = np.iinfo(x.dtype).bits
    operation = "multiply" if node.attributes["direction"] == b"LEFT" else "divide"

    def formula(x: Expression, bits: Expression) -> Expression:
        value, bits = cast(x, "uint64"), cast(bits, "uint64")
        shifted = call(operation, value, call("power", like(2, bits), bits))
        return select(call("less", bits, like(width, bits)), cast(shifted, x.dtype), like(0, x))

    return broadcast(builder, [x, node.view(1)], formula)


OPERATORS: dict[str, Translator] = {
    "BitwiseAnd": plain("bit_and"),
    "BitwiseOr": plain("bit_or"),
    "BitwiseXor": plain("bit_xor"),
    "BitwiseNot": _not,
    "BitShift": _shift,
}
