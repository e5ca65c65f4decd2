"""LLVM's types, constants and vectors: what the assembler and its operations are made of.

A value of one lane is a scalar. Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core.cgutils import get_or_insert_function

from millstream_runtime.program import item_size

Builder = ir.IRBuilder
Value = Any
POINTER, WORD, LANE = ir.PointerType(), ir.IntType(64), ir.IntType(32)


def kind_of(dtype: str, width: int = 1) -> Any:
    """The type of `width` lanes; a bool is one bit, and a float16 its bits."""
    if dtype == "bool":
        element = ir.IntType(1)
    elif dtype in ("float32", "float64"):
        element = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    else:
        element = ir.IntType(8 * item_size(dtype))
    return element if width == 1 else ir.VectorType(element, width)


def stored_kind(dtype: str, width: int = 1) -> Any:
    """The type in memory, where a bool is a byte."""
    return kind_of("uint8" if dtype == "bool" else dtype, width)


class _Splat(ir.FormattedConstant):
    """One constant in every lane; written out lane by lane it would be most of the text of a module."""

    def __init__(self, kind: Any, element: ir.Constant) -> None:
        self.type = kind
        self.constant = f"splat ({element.type} {element.get_reference()})"


def constant(kind: Any, value: float | int | bool) -> Value:
    """A number in every lane of a type."""
    if isinstance(kind, ir.VectorType):
        return _Splat(kind, constant(kind.element, value))
    return ir.Constant(kind, float(value) if isinstance(kind, (ir.FloatType, ir.DoubleType)) else int(value))


def like(value: Value, number: float) -> Value:
    """A number in every lane that a value has."""
    return constant(value.type, number)


def repeated(builder: Builder, value: Value, width: int) -> Value:
    """One value in every lane."""
    if width == 1:
        return value
    kind = ir.VectorType(value.type, width)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, LANE(0))
    return picked(builder, first, [0] * width)


def picked(builder: Builder, value: Value, lanes: Sequence[int], other: Value | None = None) -> Value:
    """The lanes with these numbers of one or two vectors; a single lane is a scalar."""
    if len(lanes) == 1:
        count = value.type.count
        vector = value if lanes[0] < count or other is None else other
        return builder.extract_element(vector, LANE(lanes[0] % count))
    mask = ir.Constant(ir.VectorType(LANE, len(lanes)), list(lanes))
    return builder.shuffle_vector(
        value, ir.Constant(value.type, ir.Undefined) if other is None else other, mask
    )


def joined(builder: Builder, values: Sequence[Value]) -> Value:
    """One vector of several scalars, or of several vectors of one width, their number a power of two."""
    if not isinstance(values[0].type, ir.VectorType):
        vector: Value = ir.Constant(ir.VectorType(values[0].type, len(values)), ir.Undefined)
        for lane, value in enumerate(values):
            vector = builder.insert_element(vector, value, LANE(lane))
        return vector
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=True)
        values = [picked(builder, x, range(2 * x.type.count), y) for x, y in pairs]
    return values[0]


def called(builder: Builder, name: str, operands: Sequence[Value], kind: Any = None) -> Value:
    """A call of an outside function by its whole name; its result is a `kind`, or of the operands' type."""
    shape = ir.FunctionType(kind or operands[0].type, [operand.type for operand in operands])
    return builder.call(get_or_insert_function(builder.module, shape, name), list(operands))


def intrinsic(builder: Builder, name: str, operands: Sequence[Value], kind: Any = None) -> Value:
    """One of LLVM's functions for any type: the types of the result, if it has its own, and of the first
    operand are added to its name."""
    kinds = [kind, operands[0].type] if kind is not None else [operands[0].type]
    return called(builder, ".".join([name, *map(_suffix, kinds)]), operands, kind)


def _suffix(kind: Any) -> str:
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_suffix(kind.element)}"
    return kind.intrinsic_name
