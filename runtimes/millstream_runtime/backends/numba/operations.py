"""The operations of a program as LLVM instructions, on scalars and on vectors.

Traps that shape them: dividing integers by zero traps; a cast of an out-of-range float is undefined; where
LLVM may choose which product it fuses into which sum, it chooses by what stands around them. So sums take in
products by a rule, and a step has the same numbers alone, in a batch and in a chunk.
Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from millstream_runtime.backends.numba.cpu import this_cpu
from millstream_runtime.backends.numba.values import (
    Builder,
    Value,
    called,
    constant,
    intrinsic,
    kind_of,
    like,
)
from millstream_runtime.program import item_size, limits

_Operation = Callable[..., Value]


def call(builder: Builder, operation: str, operand: str, result: str, values: Sequence[Value]) -> Value:
    """One operation of `OPERATIONS` on operands of dtype `operand`; no approximation is used."""
    if operation == "select":
        return builder.select(*values)
    if operation == "cast":
        return _cast(builder, values[0], operand, result)
    if operand == "bool":
        return _BOOL[operation](builder, *values)
    if operand.startswith("float"):
        known = _FLOAT.get(operation)
        return known(builder, *values) if known else _libm(builder, operation, operand, values)
    return (_UNSIGNED if operand.startswith("uint") else _SIGNED)[operation](builder, *values)


def _sum(builder: Builder, x: Value, y: Value, own: tuple[Value, Value] | None = None) -> Value:
    """x + y, with the product that y is, else the one that x is, taken in without rounding.

    `own` are the factors of y where it does not show them itself.
    """
    if this_cpu().fuses:
        factors = own or _factors(builder, y)
        if factors:
            return intrinsic(builder, "llvm.fma", [*factors, x])
        factors = _factors(builder, x)
        if factors:
            return intrinsic(builder, "llvm.fma", [*factors, y])
    return builder.fadd(x, y)


def _factors(builder: Builder, value: Value, negated: bool = False) -> tuple[Value, Value] | None:
    """The factors of a value that is a product, the first of them negated if so wished."""
    if getattr(value, "opname", "") != "fmul":
        return None
    x, y = value.operands
    return (builder.fneg(x) if negated else x), y


def _cast(builder: Builder, value: Value, operand: str, result: str) -> Value:
    """Truncates a float towards zero, holds what is out of range at its limit, and turns NaN to 0."""
    if result == "bool":
        return call(builder, "not_equal", operand, "bool", [value, like(value, 0)])
    kind = kind_of(result, getattr(value.type, "count", 1))
    to_float, unsigned = result.startswith("float"), operand.startswith("uint") or operand == "bool"
    if operand.startswith("float"):
        if to_float:
            return (builder.fpext if result == "float64" else builder.fptrunc)(value, kind)
        return _truncated(builder, value, result, kind)
    if to_float:
        return (builder.uitofp if unsigned else builder.sitofp)(value, kind)
    if kind_of(result).width <= kind_of(operand).width:
        return builder.trunc(value, kind)
    return (builder.zext if unsigned else builder.sext)(value, kind)


def _truncated(builder: Builder, value: Value, result: str, kind: Value) -> Value:
    if item_size(result) >= item_size("int32"):
        name = "llvm.fptoui.sat" if result.startswith("uint") else "llvm.fptosi.sat"
        return intrinsic(builder, name, [value], kind)
    # LLVM makes scalars of vectors that it saturates to small integers.
    lowest, highest = limits(result)
    whole = kind_of("int32", getattr(value.type, "count", 1))
    held = builder.fptosi(held_between(builder, value, like(value, lowest), like(value, highest)), whole)
    return builder.trunc(builder.select(_is_nan(builder, value), constant(whole, 0), held), kind)


def held_between(builder: Builder, x: Value, low: Value, high: Value) -> Value:
    """x (float) no lower than `low` and no higher than `high`; NaN stays NaN."""
    above = builder.select(builder.fcmp_ordered(">", low, x), low, x)
    return builder.select(builder.fcmp_ordered("<", high, above), high, above)


def _libm(builder: Builder, operation: str, dtype: str, values: Sequence[Value]) -> Value:
    return called(builder, operation + ("f" if dtype == "float32" else ""), values)


def _of_floats(symbol: str) -> _Operation:
    return lambda builder, x, y: builder.fcmp_ordered(symbol, x, y)


def _of_signed(symbol: str) -> _Operation:
    return lambda builder, x, y: builder.icmp_signed(symbol, x, y)


def _of_unsigned(symbol: str) -> _Operation:
    return lambda builder, x, y: builder.icmp_unsigned(symbol, x, y)


def _comparisons(of: Callable[[str], _Operation]) -> dict[str, _Operation]:
    symbols = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "=="}
    return {name: of(symbol) for name, symbol in {**symbols, "not_equal": "!="}.items()}


def _is_nan(builder: Builder, x: Value) -> Value:
    return builder.fcmp_unordered("uno", x, x)


def _chosen_float(symbol: str) -> _Operation:
    """x where it is above (or below) y or NaN, else y: NaN stays NaN."""

    def choose(builder: Builder, x: Value, y: Value) -> Value:
        ordered = builder.fcmp_ordered(symbol, x, y)
        return builder.select(builder.or_(ordered, _is_nan(builder, x)), x, y)

    return choose


def _chosen_integer(compare: _Operation) -> _Operation:
    return lambda builder, x, y: builder.select(compare(builder, x, y), x, y)


def _sign_of_float(builder: Builder, x: Value) -> Value:
    """-1, 0 or 1; NaN stays NaN."""
    zero = like(x, 0)
    negative = builder.select(builder.fcmp_ordered("<", x, zero), like(x, -1), x)
    return builder.select(builder.fcmp_ordered(">", x, zero), like(x, 1), negative)


def _floor_mod_of_floats(builder: Builder, x: Value, y: Value) -> Value:
    """Remainder with the sign of the divisor."""
    remainder, zero = _fmod(builder, x, y), like(x, 0)
    below, beyond = (builder.fcmp_ordered("<", value, zero) for value in (remainder, y))
    wrong = builder.and_(builder.fcmp_unordered("!=", remainder, zero), builder.xor(below, beyond))
    return builder.select(wrong, builder.fadd(remainder, y), remainder)


def _fmod(builder: Builder, x: Value, y: Value) -> Value:
    return _libm(builder, "fmod", _dtype_of_float(x), [x, y])


def _power_of_floats(builder: Builder, x: Value, y: Value) -> Value:
    return _libm(builder, "pow", _dtype_of_float(x), [x, y])


def _sigmoid(builder: Builder, x: Value) -> Value:
    """1 / (1 + exp(-x)) without overflow for large |x|."""
    small = _libm(builder, "exp", _dtype_of_float(x), [builder.fneg(intrinsic(builder, "llvm.fabs", [x]))])
    above = builder.fcmp_ordered(">=", x, like(x, 0))
    return builder.fdiv(builder.select(above, like(x, 1), small), builder.fadd(like(x, 1), small))


def _dtype_of_float(x: Value) -> str:
    return "float32" if x.type == kind_of("float32") else "float64"


def _intrinsic(name: str) -> _Operation:
    return lambda builder, x: intrinsic(builder, f"llvm.{name}", [x])


def _same(builder: Builder, x: Value) -> Value:
    return x


def _safe_divisor(builder: Builder, divisor: Value, signed: bool) -> Value:
    """The divisor with 1 in place of 0, and of -1 when signed: no division traps."""
    trouble = builder.icmp_signed("==", divisor, like(divisor, 0))
    if signed:
        trouble = builder.or_(trouble, builder.icmp_signed("==", divisor, like(divisor, -1)))
    return builder.select(trouble, like(divisor, 1), divisor)


def _divided(builder: Builder, x: Value, y: Value, signed: bool) -> Value:
    """Quotient truncated towards zero; 0 for a divisor of 0. The lowest integer over -1 wraps."""
    quotient = (builder.sdiv if signed else builder.udiv)(x, _safe_divisor(builder, y, signed))
    if signed:
        minus_one = builder.icmp_signed("==", y, like(y, -1))
        quotient = builder.select(minus_one, builder.neg(x), quotient)
    return builder.select(builder.icmp_signed("==", y, like(y, 0)), like(y, 0), quotient)


def _truncated_mod(builder: Builder, x: Value, y: Value, signed: bool) -> Value:
    """Remainder with the sign of the dividend; 0 for a divisor of 0."""
    return (builder.srem if signed else builder.urem)(x, _safe_divisor(builder, y, signed))


def _floor_mod(builder: Builder, x: Value, y: Value, signed: bool) -> Value:
    """Remainder with the sign of the divisor; 0 for a divisor of 0."""
    remainder = _truncated_mod(builder, x, y, signed)
    if not signed:
        return remainder
    zero = like(x, 0)
    other_side = builder.icmp_signed("<", builder.xor(remainder, y), zero)
    wrong = builder.and_(other_side, builder.icmp_signed("!=", remainder, zero))
    return builder.select(wrong, builder.add(remainder, y), remainder)


def _power_of_integers(builder: Builder, x: Value, y: Value, signed: bool) -> Value:
    dtype = f"{'' if signed else 'u'}int{x.type.width}"
    doubles = [_cast(builder, value, dtype, "float64") for value in (x, y)]
    return _cast(builder, _power_of_floats(builder, *doubles), "float64", dtype)


def _sign_of_integer(builder: Builder, x: Value, signed: bool) -> Value:
    zero = like(x, 0)
    if not signed:
        return builder.zext(builder.icmp_unsigned("!=", x, zero), x.type)
    above = builder.zext(builder.icmp_signed(">", x, zero), x.type)
    return builder.sub(above, builder.zext(builder.icmp_signed("<", x, zero), x.type))


def _absolute(builder: Builder, x: Value) -> Value:
    return builder.select(builder.icmp_signed("<", x, like(x, 0)), builder.neg(x), x)


_FLOAT: dict[str, _Operation] = {
    **_comparisons(_of_floats),
    "not_equal": lambda builder, x, y: builder.fcmp_unordered("!=", x, y),
    "is_nan": _is_nan,
    "add": _sum,
    "subtract": lambda builder, x, y: _sum(builder, x, builder.fneg(y), _factors(builder, y, negated=True)),
    "multiply": lambda builder, x, y: builder.fmul(x, y),
    "divide": lambda builder, x, y: builder.fdiv(x, y),
    "negative": lambda builder, x: builder.fneg(x),
    "absolute": _intrinsic("fabs"),
    "sqrt": _intrinsic("sqrt"),
    "floor": _intrinsic("floor"),
    "ceil": _intrinsic("ceil"),
    "round": _intrinsic("rint"),
    "maximum": _chosen_float(">"),
    "minimum": _chosen_float("<"),
    "sign": _sign_of_float,
    "sigmoid": _sigmoid,
    "power": _power_of_floats,
    "floor_mod": _floor_mod_of_floats,
    "truncated_mod": _fmod,
}


def _integer(signed: bool) -> dict[str, _Operation]:
    compare = _comparisons(_of_signed if signed else _of_unsigned)
    told = {
        "divide": _divided,
        "floor_mod": _floor_mod,
        "truncated_mod": _truncated_mod,
        "power": _power_of_integers,
        "sign": _sign_of_integer,
    }
    return {
        **compare,
        **{name: functools.partial(operation, signed=signed) for name, operation in told.items()},
        "add": lambda builder, x, y: builder.add(x, y),
        "subtract": lambda builder, x, y: builder.sub(x, y),
        "multiply": lambda builder, x, y: builder.mul(x, y),
        "negative": lambda builder, x: builder.neg(x),
        "absolute": _absolute if signed else _same,
        "maximum": _chosen_integer(compare["greater"]),
        "minimum": _chosen_integer(compare["less"]),
        "bit_and": lambda builder, x, y: builder.and_(x, y),
        "bit_or": lambda builder, x, y: builder.or_(x, y),
        "bit_xor": lambda builder, x, y: builder.xor(x, y),
        "shift_right": lambda builder, x, y: builder.lshr(x, y),
        "floor": _same,
        "ceil": _same,
        "round": _same,
    }


_SIGNED, _UNSIGNED = _integer(True), _integer(False)


def _both(builder: Builder, x: Value, y: Value) -> Value:
    return builder.and_(x, y)


def _either(builder: Builder, x: Value, y: Value) -> Value:
    return builder.or_(x, y)


_BOOL: dict[str, _Operation] = {
    **_comparisons(_of_unsigned),
    "and": _both,
    "minimum": _both,
    "or": _either,
    "maximum": _either,
    "xor": lambda builder, x, y: builder.xor(x, y),
    "not": lambda builder, x: builder.not_(x),
}
