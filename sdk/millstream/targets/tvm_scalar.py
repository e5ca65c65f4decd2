"""One scalar expression printed as TVMScript.

Expressions become `T.let` lines and a final text: whatever is used twice is bound to a name once. Traps
that shape the text: TVM marks 32-bit and wider integer arithmetic as never overflowing, so it is done in
64 bits and narrowed; `T.max` and `T.min` drop NaN; a cast of an out-of-range float is undefined; division
by zero traps. Overflow of signed 64-bit integers (and of uint64 past half its range) stays undefined.
"""

from __future__ import annotations

from collections.abc import Callable

from millstream_runtime import polynomials
from millstream_runtime.program import item_size

_COMPARISONS = {
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}
_OPERATORS = {"add": "+", "subtract": "-", "multiply": "*"}
_BITWISE = {"bit_and": "T.bitwise_and", "bit_or": "T.bitwise_or", "bit_xor": "T.bitwise_xor"}
_LOGIC = {"and": "T.And", "or": "T.Or"}
_ROUNDING = {"floor": "T.floor", "ceil": "T.ceil", "round": "T.nearbyint"}
#: What libm computes, by its name there.
_LIBM = {
    **{name: name for name in ("exp", "log", "log1p", "erf", "sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{name: name for name in ("asinh", "acosh", "atanh")},
    **{"asin": "asin", "acos": "acos", "atan": "atan", "power": "pow", "truncated_mod": "fmod"},
}


class Scalars:
    """Prints operations on texts; `lines` collects the bindings that the texts need, in order."""

    def __init__(self, counter: Callable[[], int]) -> None:
        self._counter = counter
        self.lines: list[str] = []

    def bind(self, text: str) -> str:
        """A name for `text`, so that it may be used more than once."""
        if text.isidentifier():
            return text
        name = f"v{self._counter()}"
        self.lines.append(f"{name}: T.let = {text}")
        return name

    def call(self, operation: str, operand: str, result: str, texts: list[str]) -> str:
        """One operation of `OPERATIONS` on operands of dtype `operand`."""
        if operation == "not_equal" and operand.startswith("float"):
            return self._differ(*texts)
        if operation in _COMPARISONS:
            return _compare(_COMPARISONS[operation], operand, *texts)
        if operation == "cast":
            return self._cast(texts[0], operand, result)
        if operation == "select":
            return f"T.Select({', '.join(texts)})"
        if operand == "bool":
            return self._bool(operation, texts)
        return (self._float if operand.startswith("float") else self._integer)(operation, operand, texts)

    def _differ(self, x: str, y: str) -> str:
        """x != y of floats, true when either is NaN; TVM's own is false then."""
        x, y = self.bind(x), self.bind(y)
        return f"T.Or(T.Or(T.isnan({x}), T.isnan({y})), {x} != {y})"

    def _bool(self, operation: str, texts: list[str]) -> str:
        if operation == "not":
            return f"T.Not({texts[0]})"
        name = {"maximum": "or", "minimum": "and"}.get(operation, operation)
        if name == "xor":
            return _compare("!=", "bool", *texts)
        return f"{_LOGIC[name]}({', '.join(texts)})"

    def _integer(self, operation: str, dtype: str, texts: list[str]) -> str:
        if operation in _OPERATORS:
            return _wrapping(_OPERATORS[operation], dtype, *texts)
        if operation in _BITWISE:
            return f"{_BITWISE[operation]}({', '.join(texts)})"
        if operation in _ROUNDING:
            return texts[0]
        zero, one = literal(0, dtype), literal(1, dtype)
        if operation == "negative":
            return _wrapping("-", dtype, zero, texts[0])
        if operation == "power":
            return self._cast(
                f"T.call_pure_extern('float64', 'pow', {', '.join(f'T.Cast({chr(34)}float64{chr(34)}, {t})' for t in texts)})",
                "float64",
                dtype,
            )
        x, *rest = [self.bind(text) for text in texts]
        if dtype.startswith("uint") and operation in ("absolute", "sign"):
            # Not "below zero": TVM's simplifier aborts on an impossible condition.
            return x if operation == "absolute" else f"T.Select({x} != {zero}, {one}, {zero})"
        if operation == "absolute":
            return f"T.Select({x} < {zero}, {_wrapping('-', dtype, zero, x)}, {x})"
        if operation == "sign":
            minus_one = _wrapping("-", dtype, zero, one)
            return f"T.Select({x} > {zero}, {one}, T.Select({x} < {zero}, {minus_one}, {zero}))"
        if operation in ("maximum", "minimum"):
            return f"T.Select({x} {'>' if operation == 'maximum' else '<'} {rest[0]}, {x}, {rest[0]})"
        return self._division(operation, dtype, x, rest[0])

    def _division(self, operation: str, dtype: str, x: str, y: str) -> str:
        """Division that cannot trap: 1 stands in for the divisors 0 and -1; x and y are names.

        The safe divisor goes through memory, because TVM would see through a `T.Select` and divide by y,
        and lifts a division out of a `T.if_then_else`.
        """
        zero, signed = literal(0, dtype), dtype.startswith("int")
        trouble = f"{y} == {zero}"
        if signed:
            trouble = f"T.Or({trouble}, {y} == {literal(-1, dtype)})"
        safe = f"d{self._counter()}"
        self.lines.append(f"{safe} = T.alloc_buffer((1,), '{dtype}')")
        self.lines.append(f"{safe}[0] = T.Select({trouble}, {literal(1, dtype)}, {y})")
        if operation == "divide":
            quotient = f"T.truncdiv({x}, {safe}[0])"
            if signed:
                negated = _wrapping("-", dtype, zero, x)
                quotient = f"T.Select({y} == {literal(-1, dtype)}, {negated}, {quotient})"
            return f"T.Select({y} == {zero}, {zero}, {quotient})"
        remainder = self.bind(f"T.truncmod({x}, {safe}[0])")
        if operation == "truncated_mod" or not signed:
            return remainder
        return f"T.Select({_other_side(remainder, y, zero)}, {remainder} + {y}, {remainder})"

    def _float(self, operation: str, dtype: str, texts: list[str]) -> str:
        if operation in _OPERATORS:
            return f"({texts[0]} {_OPERATORS[operation]} {texts[1]})"
        if operation in _ROUNDING:
            return f"{_ROUNDING[operation]}({texts[0]})"
        if operation == "divide":
            return f"T.Div({texts[0]}, {texts[1]})"
        if operation == "negative":
            return f"({literal(-1, dtype)} * {texts[0]})"
        if operation in ("absolute", "sqrt"):
            return f"T.{'abs' if operation == 'absolute' else 'sqrt'}({texts[0]})"
        if operation == "is_nan":
            return f"T.isnan({texts[0]})"
        names = [self.bind(text) for text in texts]
        if dtype == "float32" and operation in _FLOAT32:
            return _FLOAT32[operation](self, *names)
        if operation in _LIBM:
            suffix = "f" if dtype == "float32" else ""
            return f"T.call_pure_extern('{dtype}', '{_LIBM[operation]}{suffix}', {', '.join(names)})"
        return self._float_choice(operation, dtype, *names)

    def _float_choice(self, operation: str, dtype: str, x: str, y: str = "") -> str:
        """The operations that choose between values; x and y are names."""
        zero, one = literal(0, dtype), literal(1, dtype)
        if operation in ("maximum", "minimum"):
            return f"T.Select(T.Or({x} {'>' if operation == 'maximum' else '<'} {y}, T.isnan({x})), {x}, {y})"
        if operation == "sign":
            return f"T.Select({x} > {zero}, {one}, T.Select({x} < {zero}, {literal(-1, dtype)}, {x}))"
        if operation == "sigmoid":
            return self._logistic(x, self.bind(f"T.call_pure_extern('{dtype}', 'exp', -T.abs({x}))"), dtype)
        remainder = self.bind(self._float("truncated_mod", dtype, [x, y]))
        other_side = _other_side(remainder, y, zero)
        return f"T.Select({other_side}, {remainder} + {y}, {remainder})"

    def _logistic(self, x: str, small: str, dtype: str) -> str:
        """1 / (1 + exp(-x)) from small = exp(-|x|)."""
        zero, one = literal(0, dtype), literal(1, dtype)
        return f"T.Div(T.Select({x} >= {zero}, {one}, {small}), {one} + {small})"

    def _cast(self, text: str, operand: str, result: str) -> str:
        if result == "bool":
            return self.call("not_equal", operand, result, [text, literal(0, operand)])
        if not operand.startswith("float") or result.startswith("float"):
            return f"T.Cast('{result}', {text})"
        x = self.bind(text)
        lowest, highest = limits(result)
        beyond, below = literal(float(highest + 1), operand), literal(float(lowest), operand)
        inside = f"T.Cast('{result}', {x})"
        low = f"T.Select({x} <= {below}, {literal(lowest, result)}, {inside})"
        high = f"T.Select({x} >= {beyond}, {literal(highest, result)}, {low})"
        return f"T.Select(T.isnan({x}), {literal(0, result)}, {high})"

    def _exp(self, x: str) -> str:
        """2^n exp(r) with n whole and |r| <= ln(2) / 2."""
        low, high = literal(polynomials.EXP_LOWEST, _F), literal(polynomials.EXP_HIGHEST, _F)
        number = self.bind(f"T.Select(T.isnan({x}), {literal(0, _F)}, {x})")
        bounded = self.bind(f"T.min(T.max({number}, {low}), {high})")
        n = self.bind(f"T.nearbyint({bounded} * {literal(polynomials.LOG2_E, _F)})")
        r = self.bind(
            f"{bounded} - {n} * {literal(polynomials.LN2_HIGH, _F)} - {n} * {literal(polynomials.LN2_LOW, _F)}"
        )
        fraction = f"({_horner(polynomials.EXP, r)} * {r} * {r} + {r} + {literal(1, _F)})"
        whole = self.bind(f"T.Cast('int32', {n})")
        # Two factors, because 2^n alone may be beyond float32 where the product is not.
        half = self.bind(f"T.shift_right({whole}, 1)")
        return self.bind(
            f"T.Select(T.isnan({x}), {x}, {fraction} * {_power_of_two(half)} * {_power_of_two(f'({whole} - {half})')})"
        )

    def _sigmoid(self, x: str) -> str:
        return self._logistic(x, self._exp(self.bind(f"{literal(-1, _F)} * T.abs({x})")), _F)

    def _tanh(self, x: str) -> str:
        """A polynomial near zero, 1 - 2 / (exp(2 |x|) + 1) elsewhere."""
        one, two = literal(1, _F), literal(2, _F)
        s = self.bind(f"{x} * {x}")
        near = f"{_horner(polynomials.TANH, s)} * {s} * {x} + {x}"
        grown = self._exp(self.bind(f"{two} * T.abs({x})"))
        far = self.bind(f"{one} - T.Div({two}, {grown} + {one})")
        return _by_magnitude(x, polynomials.TANH_NEAR, near, far)

    def _erf(self, x: str) -> str:
        """A polynomial near zero, Abramowitz and Stegun 7.1.26 elsewhere."""
        one = literal(1, _F)
        s = self.bind(f"{x} * {x}")
        near = f"{_horner(polynomials.ERF, s)} * {x}"
        t = self.bind(f"T.Div({one}, {one} + {literal(polynomials.ERF_P, _F)} * T.abs({x}))")
        shrunk = self._exp(self.bind(f"{literal(-1, _F)} * {s}"))
        far = self.bind(f"{one} - {_horner(polynomials.ERF_TAIL, t)} * {t} * {shrunk}")
        return _by_magnitude(x, polynomials.ERF_NEAR, near, far)


_F = "float32"
_FLOAT32: dict[str, Callable[[Scalars, str], str]] = {
    "exp": Scalars._exp,
    "sigmoid": Scalars._sigmoid,
    "tanh": Scalars._tanh,
    "erf": Scalars._erf,
}


def _compare(symbol: str, dtype: str, x: str, y: str) -> str:
    """A comparison; TVM compares bools as floats, which LLVM refuses."""
    if dtype == "bool":
        x, y = f"T.Cast('uint8', {x})", f"T.Cast('uint8', {y})"
    return f"({x} {symbol} {y})"


def _other_side(remainder: str, divisor: str, zero: str) -> str:
    """True when a remainder is not zero and its sign is not the divisor's."""
    differ = _compare("!=", "bool", f"{remainder} < {zero}", f"{divisor} < {zero}")
    return f"T.And({remainder} != {zero}, {differ})"


def _by_magnitude(x: str, bound: float, near: str, far: str) -> str:
    """`near` for |x| below `bound`, else `far` with the sign of x."""
    signed = f"T.Select({x} < {literal(0, _F)}, {literal(-1, _F)} * {far}, {far})"
    return f"T.Select(T.abs({x}) < {literal(bound, _F)}, {near}, {signed})"


def _horner(coefficients: tuple[float, ...], x: str) -> str:
    text = literal(coefficients[0], _F)
    for coefficient in coefficients[1:]:
        text = f"({text} * {x} + {literal(coefficient, _F)})"
    return text


def _power_of_two(exponent: str) -> str:
    """2^exponent as float32, shifted into the exponent's bits."""
    return f"T.reinterpret('float32', T.shift_left({exponent} + 127, 23))"


def _wrapping(operator: str, dtype: str, x: str, y: str) -> str:
    """Integer arithmetic that wraps: TVM takes overflow in 32 bits and more for impossible."""
    if dtype == "int64":
        return f"({x} {operator} {y})"
    wide = "uint64" if dtype == "uint32" and operator == "*" else "int64"
    return f"T.Cast('{dtype}', T.Cast('{wide}', {x}) {operator} T.Cast('{wide}', {y}))"


def limits(dtype: str) -> tuple[int, int]:
    """The lowest and the highest integer of a dtype."""
    bits = item_size(dtype) * 8
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.startswith("int") else (0, 2**bits - 1)


def literal(value: float | int | bool, dtype: str) -> str:
    """A constant of exactly that dtype."""
    if dtype == "bool":
        return f"T.bool({bool(value)})"
    if dtype.startswith("float"):
        text = repr(float(value))
        return f"T.{dtype}({text})" if text[-1].isdigit() else f"T.{dtype}('{text}')"
    if int(value) >= 2**63:
        return f"T.reinterpret('uint64', T.int64({int(value) - 2**64}))"
    return f"T.{dtype}({int(value)})"
