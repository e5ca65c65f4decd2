"""One operation printed as TVMScript, on scalars or on vectors.

An operand that a formula uses twice is bound to a name once. Traps that shape the formulas: TVM takes
overflow of 32-bit and wider integers for impossible, so that arithmetic is done in 64 bits and narrowed;
`T.max` and `T.min` drop NaN, and its `!=` is false for NaN; a cast of an out-of-range float is undefined;
division by zero traps; its simplifier aborts on conditions that cannot be, such as an unsigned number below
zero. Overflow of int64 (of uint64 past half its range) stays undefined.
"""

from __future__ import annotations

from millstream.targets.tvm.literal import literal
from millstream_runtime.kernels.assembler import Assembler
from millstream_runtime.program import item_size, limits

# In the formulas {0} and {1} are the operands, {zero}, {one} and {minus_one} constants of their dtype.
_COMMON = {
    "less": "({0} < {1})",
    "less_equal": "({0} <= {1})",
    "greater": "({0} > {1})",
    "greater_equal": "({0} >= {1})",
    "equal": "({0} == {1})",
    "not_equal": "({0} != {1})",
    "select": "T.Select({0}, {1}, {2})",
}
_DIFFER = "(T.Cast('uint8', {0}) != T.Cast('uint8', {1}))"
_BOOL = {
    **_COMMON,
    # TVM compares bools as floats, which LLVM refuses.
    "equal": "(T.Cast('uint8', {0}) == T.Cast('uint8', {1}))",
    "not_equal": _DIFFER,
    "xor": _DIFFER,
    "and": "T.And({0}, {1})",
    "minimum": "T.And({0}, {1})",
    "or": "T.Or({0}, {1})",
    "maximum": "T.Or({0}, {1})",
    "not": "T.Not({0})",
}
_UNSIGNED = {
    **_COMMON,
    "add": "T.Cast('{dtype}', T.Cast('{wide}', {0}) + T.Cast('{wide}', {1}))",
    "subtract": "T.Cast('{dtype}', T.Cast('{wide}', {0}) - T.Cast('{wide}', {1}))",
    "multiply": "T.Cast('{dtype}', T.Cast('{product}', {0}) * T.Cast('{product}', {1}))",
    "negative": "T.Cast('{dtype}', T.int64(0) - T.Cast('int64', {0}))",
    "absolute": "{0}",
    "sign": "T.Select({0} != {zero}, {one}, {zero})",
    "maximum": "T.Select({0} > {1}, {0}, {1})",
    "minimum": "T.Select({0} < {1}, {0}, {1})",
    "bit_and": "T.bitwise_and({0}, {1})",
    "bit_or": "T.bitwise_or({0}, {1})",
    "bit_xor": "T.bitwise_xor({0}, {1})",
    "shift_right": "T.shift_right({0}, {1})",
    "floor": "{0}",
    "ceil": "{0}",
    "round": "{0}",
}
_SIGNED = {
    **_UNSIGNED,
    "absolute": "T.Select({0} < {zero}, T.Cast('{dtype}', T.int64(0) - T.Cast('int64', {0})), {0})",
    "sign": "T.Select({0} > {zero}, {one}, T.Select({0} < {zero}, {minus_one}, {zero}))",
}
#: Functions that C has by the same name.
LIBM = ("exp", "log", "log1p", "erf", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan")
LIBM += ("asinh", "acosh", "atanh")
_FLOAT = {
    **_COMMON,
    "not_equal": "T.Or(T.Or(T.isnan({0}), T.isnan({1})), {0} != {1})",
    "add": "({0} + {1})",
    "subtract": "({0} - {1})",
    "multiply": "({0} * {1})",
    "divide": "T.Div({0}, {1})",
    "negative": "({minus_one} * {0})",
    "absolute": "T.abs({0})",
    "sqrt": "T.sqrt({0})",
    "floor": "T.floor({0})",
    "ceil": "T.ceil({0})",
    "round": "T.nearbyint({0})",
    "is_nan": "T.isnan({0})",
    "maximum": "T.Select(T.Or({0} > {1}, T.isnan({0})), {0}, {1})",
    "minimum": "T.Select(T.Or({0} < {1}, T.isnan({0})), {0}, {1})",
    "sign": "T.Select({0} > {zero}, {one}, T.Select({0} < {zero}, {minus_one}, {0}))",
    "power": "T.call_pure_extern('{dtype}', 'pow{f}', {0}, {1})",
    "truncated_mod": "T.call_pure_extern('{dtype}', 'fmod{f}', {0}, {1})",
    **{name: f"T.call_pure_extern('{{dtype}}', '{name}{{f}}', {{0}})" for name in LIBM},
}


# 1 / (1 + exp(-x)) from x and exp(-|x|), which cannot overflow.
_LOGISTIC = "T.Div(T.Select({0} >= {zero}, {one}, {1}), {one} + {1})"


class Formulas:
    """Prints operations on texts that stand for `width` elements each."""

    def __init__(self, write: Assembler, width: int) -> None:
        self._write = write
        self._width = width

    def call(self, operation: str, operand: str, result: str, texts: list[str]) -> str:
        """One operation of `OPERATIONS` on operands of dtype `operand`; no approximation is used."""
        if operation == "cast":
            return self._cast(texts[0], operand, result)
        if operand == "bool":
            return self._fill(_BOOL[operation], operand, texts)
        if operand.startswith("float"):
            return self._float(operation, operand, texts)
        if operation in ("divide", "floor_mod", "truncated_mod"):
            return self._division(operation, operand, *(self._bind(text, operand) for text in texts))
        if operation == "power":
            doubles = [f"T.Cast('float64', {text})" for text in texts]
            return self._cast(self._fill(_FLOAT["power"], "float64", doubles), "float64", operand)
        formulas = _UNSIGNED if operand.startswith("uint") else _SIGNED
        return self._fill(formulas[operation], operand, texts)

    def _fill(self, formula: str, dtype: str, texts: list[str]) -> str:
        """The formula with its operands in place; those that it uses twice are bound first."""
        names = [
            self._bind(text, dtype) if formula.count(f"{{{place}}}") > 1 else text
            for place, text in enumerate(texts)
        ]
        constants = {} if dtype == "bool" else self._constants(dtype)
        return formula.format(*names, dtype=self._dtype(dtype), **constants)

    def _float(self, operation: str, dtype: str, texts: list[str]) -> str:
        if operation == "sigmoid":
            x = self._bind(texts[0], dtype)
            small = self._fill(_FLOAT["exp"], dtype, [f"{literal(-1, dtype)} * T.abs({x})"])
            return self._fill(_LOGISTIC, dtype, [x, small])
        if operation == "floor_mod":
            x, y = (self._bind(text, dtype) for text in texts)
            remainder = self._bind(self._fill(_FLOAT["truncated_mod"], dtype, [x, y]), dtype)
            return self._floored(remainder, y, dtype)
        return self._fill(_FLOAT[operation], dtype, texts)

    def _division(self, operation: str, dtype: str, x: str, y: str) -> str:
        """Integer division that cannot trap: 1 stands in for the divisors 0 and -1; x and y are names.

        The safe divisor goes through memory, because TVM would see through a `T.Select` and divide by y,
        and lifts a division out of a `T.if_then_else`.
        """
        zero, signed = literal(0, dtype), dtype.startswith("int")
        trouble = f"T.Or({y} == {zero}, {y} == {literal(-1, dtype)})" if signed else f"{y} == {zero}"
        safe = self._write.variable(f"T.Select({trouble}, {literal(1, dtype)}, {y})", dtype).get()
        if operation == "divide":
            quotient = f"T.truncdiv({x}, {safe})"
            if signed:
                negated = self._fill(_SIGNED["negative"], dtype, [x])
                quotient = f"T.Select({y} == {literal(-1, dtype)}, {negated}, {quotient})"
            return f"T.Select({y} == {zero}, {zero}, {quotient})"
        remainder = self._bind(f"T.truncmod({x}, {safe})", dtype)
        return self._floored(remainder, y, dtype) if operation == "floor_mod" and signed else remainder

    def _floored(self, remainder: str, divisor: str, dtype: str) -> str:
        """A remainder with the sign of the divisor, from one with the sign of the dividend."""
        zero = self._number(0, dtype)
        differ = _DIFFER.format(f"{remainder} < {zero}", f"{divisor} < {zero}")
        return f"T.Select(T.And({remainder} != {zero}, {differ}), {remainder} + {divisor}, {remainder})"

    def _cast(self, text: str, operand: str, result: str) -> str:
        if result == "bool":
            return self.call("not_equal", operand, result, [text, self._number(0, operand)])
        if not operand.startswith("float") or result.startswith("float"):
            return f"T.Cast('{self._dtype(result)}', {text})"
        x = self._bind(text, operand)
        lowest, highest = limits(result)
        if item_size(result) < item_size("int32"):
            # Both limits are floats, and T.max drops NaN, which no integer can hold.
            held = f"T.min(T.max({x}, {self._number(lowest, operand)}), {self._number(highest, operand)})"
            whole = f"T.Cast('{self._dtype('int32')}', {held})"
            chosen = f"T.Select(T.isnan({x}), {self._number(0, 'int32')}, {whole})"
            return f"T.Cast('{self._dtype(result)}', {chosen})"
        inside = f"T.Cast('{self._dtype(result)}', {x})"
        below = f"{x} <= {self._number(lowest, operand)}"
        low = f"T.Select({below}, {self._number(lowest, result)}, {inside})"
        beyond = f"{x} >= {self._number(highest + 1, operand)}"
        high = f"T.Select({beyond}, {self._number(highest, result)}, {low})"
        return f"T.Select(T.isnan({x}), {self._number(0, result)}, {high})"

    def _bind(self, text: str, dtype: str) -> str:
        return self._write.bind(text, dtype, self._width)

    def _number(self, value: float | int | bool, dtype: str) -> str:
        return self._write.number(value, dtype, self._width)

    def _dtype(self, name: str) -> str:
        """The dtype of a text whose elements are `name`."""
        return name if self._width == 1 else f"{name}x{self._width}"

    def _constants(self, dtype: str) -> dict[str, str]:
        """What the formulas may name beside their operands."""
        return {
            "zero": self._number(0, dtype),
            "one": self._number(1, dtype),
            "minus_one": self._number(0 if dtype.startswith("uint") else -1, dtype),
            # Where a product of two still fits.
            "product": self._dtype("uint64" if dtype == "uint32" else "int64"),
            "wide": self._dtype("int64"),
            "f": "f" if dtype == "float32" else "",
        }
