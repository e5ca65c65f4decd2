"""Short ways to write scalar expressions."""

from __future__ import annotations

from millstream_runtime.program import Call, Constant, Expression, rewrite

_BOOLEAN = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "is_nan")


def call(operation: str, *operands: Expression) -> Call:
    """An operation whose result dtype follows from its operands."""
    if operation in _BOOLEAN:
        return Call(operation, operands, "bool")
    return Call(operation, operands, operands[-1].dtype)


def constant(value: float | int | bool, dtype: str) -> Constant:
    """A literal of that dtype, as the Python type that goes with it."""
    if dtype == "bool":
        return Constant(bool(value), dtype)
    return Constant(float(value) if dtype.startswith("float") else int(value), dtype)


def like(value: float, expression: Expression) -> Constant:
    """A literal of an expression's dtype."""
    return constant(value, expression.dtype)


def add(a: Expression, b: Expression) -> Call:
    return call("add", a, b)


def subtract(a: Expression, b: Expression) -> Call:
    return call("subtract", a, b)


def multiply(a: Expression, b: Expression) -> Call:
    return call("multiply", a, b)


def divide(a: Expression, b: Expression) -> Call:
    return call("divide", a, b)


def select(condition: Expression, then: Expression, otherwise: Expression) -> Call:
    return call("select", condition, then, otherwise)


def clamp(x: Expression, low: float, high: float) -> Call:
    return call("minimum", call("maximum", x, like(low, x)), like(high, x))


def direct(x: Expression) -> Expression:
    """Without the way of a float16 to float32 and back, which changes nothing."""

    def visit(part: Expression) -> Expression | None:
        match part:
            case Call("cast", (Call("cast", (half,), "float32"),), "float16") if half.dtype == "float16":
                return direct(half)
        return None

    return rewrite(x, visit)


def cast(x: Expression, dtype: str) -> Expression:
    """Convert; to bool means "is not zero"."""
    if x.dtype == dtype:
        return x
    if dtype == "bool":
        return call("not_equal", x, like(0, x))
    return Call("cast", (x,), dtype)
