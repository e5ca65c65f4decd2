"""One scalar operation as C, with the meaning that `millstream.lower.execute` gives it.

Where C leaves a case undefined or to the machine it is closed here: integers wrap because they are computed
unsigned, division by zero gives 0, a float out of an integer's range saturates and NaN becomes 0. What uses
an operand twice or needs a branch is a function of its own.
"""

from __future__ import annotations

from millstream.targets.c.literal import TYPES, literal
from millstream_runtime.program import item_size, limits

# {0} and {1} are the operands, {type} their type, {wide} the unsigned type that arithmetic is done in,
# {f} the suffix of the float functions.
_COMPARISONS = {
    "less": "({0} < {1})",
    "less_equal": "({0} <= {1})",
    "greater": "({0} > {1})",
    "greater_equal": "({0} >= {1})",
    "equal": "({0} == {1})",
    "not_equal": "({0} != {1})",
}
_BOOL = {
    "equal": "({0} == {1})",
    "not_equal": "({0} != {1})",
    "xor": "({0} != {1})",
    "and": "({0} && {1})",
    "minimum": "({0} && {1})",
    "or": "({0} || {1})",
    "maximum": "({0} || {1})",
    "not": "(!{0})",
    "select": "({0} ? {1} : {2})",
}
_INTEGER = {
    **_COMPARISONS,
    "add": "({type})(({wide}){0} + ({wide}){1})",
    "subtract": "({type})(({wide}){0} - ({wide}){1})",
    "multiply": "({type})(({wide}){0} * ({wide}){1})",
    "negative": "({type})(0U - ({wide}){0})",
    "bit_and": "({type})({0} & {1})",
    "bit_or": "({type})({0} | {1})",
    "bit_xor": "({type})({0} ^ {1})",
    "shift_right": "({type})({0} >> {1})",
    "select": "({type})({0} ? {1} : {2})",
    "floor": "{0}",
    "ceil": "{0}",
    "round": "{0}",
}
#: Compilers warn of a comparison of an unsigned number with 0, so that it is made in a function.
_ORDER = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">="}
_UNSIGNED = {name: text for name, text in _INTEGER.items() if name not in _ORDER} | {"absolute": "{0}"}
_LIBM = ("sqrt", "exp", "log", "log1p", "erf", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos")
_FLOAT = {
    **_COMPARISONS,
    "add": "({0} + {1})",
    "subtract": "({0} - {1})",
    "multiply": "({0} * {1})",
    "divide": "({0} / {1})",
    "negative": "(-{0})",
    "select": "({0} ? {1} : {2})",
    "is_nan": "isnan({0})",
    "absolute": "fabs{f}({0})",
    "round": "rint{f}({0})",
    "power": "pow{f}({0}, {1})",
    "truncated_mod": "fmod{f}({0}, {1})",
    **{name: f"{name}{{f}}({{0}})" for name in (*_LIBM, "atan", "asinh", "acosh", "atanh", "floor", "ceil")},
}

# The functions; {name} is what each is called.
_DIVISION = """\
static {type} {name}({type} x, {type} y)
{{
    if (y == 0) {{
        return 0;
    }}
{minus_one}    return ({type})(x {symbol} y);
}}
"""
_MINUS_ONE = """\
    if (y == -1) {{
        return {result}; /* the lowest number has no opposite, and C says nothing of its quotient */
    }}
"""
_FLOOR_MOD = """\
static {type} {name}({type} x, {type} y)
{{
    const {type} remainder = {truncated};
    return ({type})(remainder != 0 && (remainder < 0) != (y < 0) ? remainder + y : remainder);
}}
"""
_CHOICE = """\
static {type} {name}({type} x, {type} y)
{{
    return x {symbol} y{nan} ? x : y;
}}
"""
_COMPARISON = """\
static bool {name}({type} x, {type} y)
{{
    return x {symbol} y;
}}
"""
_ABSOLUTE = """\
static {type} {name}({type} x)
{{
    return x < 0 ? ({type})(0U - ({wide})x) : x;
}}
"""
_SIGN = """\
static {type} {name}({type} x)
{{
    return x > 0 ? 1 : {otherwise};
}}
"""
_SIGMOID = """\
static {type} {name}({type} x)
{{
    const {type} small = exp{f}(-fabs{f}(x)); /* cannot overflow */
    return (x < 0 ? small : 1) / (1 + small);
}}
"""
_SATURATE = """\
static {type} {name}({from} x)
{{
    if (isnan(x)) {{
        return 0;
    }}
    if (x <= {below}) {{
        return {lowest};
    }}
    return x >= {above} ? {highest} : ({type})x;
}}
"""
_WIDENED = """\
/* The float that equals a half, which is given by its bits. */
static float {name}(uint16_t half)
{{
    const uint32_t magnitude = half & 0x7FFFU;
    union {{
        float x;
        uint32_t bits;
    }} found;
    if (magnitude < 0x0400U) {{
        found.x = (float)magnitude * 0x1p-24F;
    }} else {{
        /* Exponents of floats count 112 more, that of infinity and NaN twice as many. */
        found.bits = (magnitude << 13) + (magnitude < 0x7C00U ? 0x38000000U : 0x70000000U);
    }}
    found.bits |= (uint32_t)(half & 0x8000U) << 16;
    return found.x;
}}
"""
_ROUNDED = """\
/* The bits of the half next to a float, of two the even one. */
static uint16_t {name}(float x)
{{
    union {{
        float x;
        uint32_t bits;
    }} given = {{x}}, sum = {{fabsf(x) + 0.5F}};
    const uint32_t magnitude = given.bits & 0x7FFFFFFFU;
    uint32_t half;
    if (magnitude < 0x38800000U) {{
        half = sum.bits - 0x3F000000U; /* from 0.5 on floats are as far apart as the smallest halves */
    }} else if (magnitude < 0x47800000U) {{
        half = (magnitude - 0x38000000U + 0x0FFFU + (magnitude >> 13 & 1U)) >> 13;
    }} else {{
        half = magnitude > 0x7F800000U ? 0x7E00U : 0x7C00U;
    }}
    return (uint16_t)(half | (given.bits >> 16 & 0x8000U));
}}
"""
_CLAMP = """\
static int32_t clamp_index(int64_t index, int32_t last)
{
    return index < 0 ? 0 : index > last ? last : (int32_t)index;
}
"""


class Scalars:
    """Prints operations on texts; `helpers` collects the functions that the texts call, in order."""

    def __init__(self) -> None:
        self.helpers: dict[str, str] = {}

    def call(self, operation: str, operand: str, result: str, texts: list[str]) -> str:
        """One operation of `OPERATIONS` on operands of dtype `operand`; parenthesised."""
        if operation == "cast":
            return self._cast(texts[0], operand, result)
        if operand == "bool":
            return _BOOL[operation].format(*texts)
        formulas = _FLOAT if operand.startswith("float") else _UNSIGNED if operand[0] == "u" else _INTEGER
        formula = formulas.get(operation)
        if formula:
            return formula.format(*texts, **_types(operand))
        if operation == "power":
            doubles = [f"(double){text}" for text in texts]
            return self._cast(f"pow({', '.join(doubles)})", "float64", operand)
        return self._helper(operation, operand, texts)

    def clamp(self, index: str, last: int) -> str:
        """An index from 0 to `last`."""
        self.helpers["clamp_index"] = _CLAMP
        return f"clamp_index({index}, {last})"

    def _helper(self, operation: str, dtype: str, texts: list[str]) -> str:
        name = f"{operation}_{dtype}"
        if name not in self.helpers:
            text = self._text(operation, dtype, name)
            self.helpers[name] = text
        return f"{name}({', '.join(texts)})"

    def _text(self, operation: str, dtype: str, name: str) -> str:
        types = {"name": name, **_types(dtype)}
        is_float, unsigned = dtype.startswith("float"), dtype.startswith("uint")
        match operation:
            case "divide" | "truncated_mod":
                return _division(operation, unsigned, types)
            case "floor_mod" if unsigned:
                return _division(operation, unsigned, types)
            case "floor_mod":
                truncated = self.call("truncated_mod", dtype, dtype, ["x", "y"])
                return _FLOOR_MOD.format(truncated=truncated, **types)
            case "maximum" | "minimum":
                nan = " || isnan(x)" if is_float else ""
                return _CHOICE.format(symbol=">" if operation == "maximum" else "<", nan=nan, **types)
            case "less" | "less_equal" | "greater" | "greater_equal":
                return _COMPARISON.format(symbol=_ORDER[operation], **types)
            case "absolute":
                return _ABSOLUTE.format(**types)
            case "sign":
                # A float that is neither above nor below 0 is its own sign: zero, or NaN.
                otherwise = "0" if unsigned else f"x < 0 ? -1 : {'x' if is_float else 0}"
                return _SIGN.format(otherwise=otherwise, **types)
        return _SIGMOID.format(**types)

    def _cast(self, text: str, operand: str, result: str) -> str:
        if "float16" in (operand, result):
            name = f"{result}_of_{operand}"
            self.helpers[name] = (_WIDENED if operand == "float16" else _ROUNDED).format(name=name)
            return f"{name}({text})"
        if result == "bool":
            return text if operand == "bool" else f"({text} != 0)"
        if not operand.startswith("float") or result.startswith("float"):
            return f"({TYPES[result]}){text}"
        name = f"{result}_of_{TYPES[operand]}"
        lowest, highest = limits(result)
        self.helpers[name] = _SATURATE.format(
            **{"type": TYPES[result], "name": name, "from": TYPES[operand]},
            below=literal(float(lowest - 1), operand),
            lowest=literal(lowest, result),
            above=literal(float(highest + 1), operand),
            highest=literal(highest, result),
        )
        return f"{name}({text})"


def _division(operation: str, unsigned: bool, types: dict[str, str]) -> str:
    """The text of an integer division or remainder that cannot trap."""
    result = f"({types['type']})(0U - ({types['wide']})x)" if operation == "divide" else "0"
    minus_one = "" if unsigned else _MINUS_ONE.format(result=result)
    return _DIVISION.format(symbol="/" if operation == "divide" else "%", minus_one=minus_one, **types)


def _types(dtype: str) -> dict[str, str]:
    """What the formulas name beside their operands."""
    wide = "uint64_t" if item_size(dtype) == 8 else "uint32_t"
    return {"type": TYPES[dtype], "wide": wide, "f": "f" if dtype == "float32" else ""}
