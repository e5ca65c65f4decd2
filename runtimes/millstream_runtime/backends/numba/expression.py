"""Expressions and addresses of a program as Python text for Numba.

Nothing of the plan but numbers reaches the text: operands are called by their position, and operations and
dtypes come from the tables below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream_runtime.program import (
    Access,
    Accumulated,
    AxisIndex,
    Call,
    Constant,
    Expression,
    Load,
    Stored,
    item_size,
)

_COMPARISONS = {
    "less": "({} < {})",
    "less_equal": "({} <= {})",
    "greater": "({} > {})",
    "greater_equal": "({} >= {})",
    "equal": "({} == {})",
    "not_equal": "({} != {})",
}
_COMMON = {
    **_COMPARISONS,
    "maximum": "maximum({}, {})",
    "minimum": "minimum({}, {})",
    "select": "({1} if {0} else {2})",
    "and": "({} & {})",
    "or": "({} | {})",
    "xor": "({} ^ {})",
    "not": "(not {})",
}
_ARITHMETIC = {
    "add": "({} + {})",
    "subtract": "({} - {})",
    "multiply": "({} * {})",
    "negative": "(-{})",
    "absolute": "abs({})",
}
_INTEGER = {
    **_ARITHMETIC,
    "divide": "divide_integers({}, {})",
    "floor_mod": "floor_mod_integers({}, {})",
    "truncated_mod": "truncated_mod_integers({}, {})",
    "power": "SATURATE_{dtype}(math.pow(float64({}), float64({})))",
    "bit_and": "({} & {})",
    "bit_or": "({} | {})",
    "bit_xor": "({} ^ {})",
    "sign": "sign_of_integer({})",
    "floor": "{}",
    "ceil": "{}",
    "round": "{}",
}
_FLOAT = {
    **_ARITHMETIC,
    "divide": "({} / {})",
    "floor_mod": "floor_mod_floats({}, {})",
    "truncated_mod": "np.fmod({}, {})",
    "power": "math.pow({}, {})",
    "sign": "sign_of_float({}, {dtype}(1))",
    "floor": "np.floor({})",
    "ceil": "np.ceil({})",
    "round": "np.rint({})",
    "is_nan": "is_nan({})",
    "sigmoid": "sigmoid({}, {dtype}(1))",
    **{name: f"math.{name}({{}})" for name in ("sqrt", "exp", "log", "log1p", "erf")},
    **{name: f"math.{name}({{}})" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{name: f"math.{name}({{}})" for name in ("asin", "acos", "atan", "asinh", "acosh", "atanh")},
}
_FLOAT32 = {name: f"{name}_float32({{}})" for name in ("exp", "log", "log1p", "sigmoid", "tanh", "erf")}


@dataclass(frozen=True)
class Point:
    """One point of a stage: the text of every axis' index, and of its reduction's result."""

    index: Sequence[str]
    total: str = ""

    def text(self, expression: Expression) -> str:
        """The value of an expression."""
        match expression:
            case Load():
                place = self.place(expression.access)
                return f"({place} != 0)" if expression.dtype == "bool" else place
            case Constant():
                return literal(expression.value, expression.dtype)
            case AxisIndex():
                return f"int64({self.index[expression.axis]})"
            case Accumulated() | Stored():  # what is stored is read back
                return self.total
            case Call():
                operands = [self.text(operand) for operand in expression.operands]
                return call(expression.operation, expression.operands[-1].dtype, expression.dtype, operands)

    def place(self, access: Access) -> str:
        """The element at an address."""
        return f"{access.buffer}[{self.address(access)}]"

    def address(self, access: Access) -> str:
        """The index of an address in its buffer."""
        terms = [str(access.offset)] if access.offset else []
        for index, stride in zip(self.index, access.strides, strict=False):
            if stride and index != "0":
                terms.append(index if stride == 1 else f"{index} * {stride}")
        for lookup in access.lookups:
            terms.append(f"clamp({self.text(lookup.index)}, {lookup.extent - 1}) * {lookup.stride}")
        return " + ".join(terms) or "0"

    def vector(self, expression: Expression, axis: int, width: int) -> str:
        """`width` values of a term of a vector sum, from this point on along `axis`."""
        match expression:
            case Load() if expression.access.strides[axis]:
                return f"load_vector({expression.access.buffer}, {self.address(expression.access)}, {width})"
            case Call():
                name = expression.dtype if expression.operation == "cast" else expression.operation
                operands = (self.vector(operand, axis, width) for operand in expression.operands)
                return f"{name}_vectors({', '.join(operands)})"
        return f"splat({self.text(expression)}, {width})"


def call(operation: str, operand: str, result: str, texts: list[str]) -> str:
    """One operation on operands of dtype `operand`."""
    if operation == "cast":
        return _cast(texts[0], operand, result)
    if operand == "bool" or operation in _COMMON:
        return _COMMON[operation].format(*texts)
    if operand.startswith("float"):
        template = _FLOAT32.get(operation) if operand == "float32" else None
        return (template or _FLOAT[operation]).format(*texts, dtype=operand)
    return f"{operand}({_INTEGER[operation].format(*texts, dtype=operand)})"


def _cast(text: str, operand: str, result: str) -> str:
    if result == "bool":
        return f"({text} != 0)"
    if operand.startswith("float") and not result.startswith("float"):
        return f"SATURATE_{result}({text})"
    return f"{result}({text})"


def neutral(kind: str, dtype: str) -> str:
    """What a reduction starts from, as a literal."""
    if kind in ("sum", "product"):
        return literal(int(kind == "product"), dtype)
    if dtype.startswith("float"):
        return f"{dtype}({'-' if kind == 'max' else ''}inf)"
    bits, signed = item_size(dtype) * 8, dtype.startswith("int")
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return literal(lowest if kind == "max" else highest, dtype)


def literal(value: float | int | bool, dtype: str) -> str:
    if dtype == "bool":
        return str(bool(value))
    return f"{dtype}({float(value) if dtype.startswith('float') else int(value)!r})"
