"""A program printed as Python loops for Numba.

Nothing of the plan but numbers reaches the text: buffers are called by their position, and operations and
dtypes come from the tables below. The printed function takes one pointer to int64 words: the number of
streams, the address of the weights, the address of the scratch arena, then one address per buffer of the
caller in the order of `caller_buffers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from millstream_runtime.program import (
    Access,
    Accumulated,
    AxisIndex,
    Buffer,
    Call,
    Constant,
    Expression,
    Load,
    Program,
    Stage,
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


def caller_buffers(program: Program) -> tuple[Buffer, ...]:
    """The buffers that the caller owns: inputs, states, outputs and next states, in graph order."""
    roles = ("input", "state", "output", "next_state")
    return tuple(buffer for role in roles for buffer in program.role(role))


def print_program(program: Program) -> str:
    """The source of `step(table)` for a checked program."""
    names = {buffer.name: f"b{number}" for number, buffer in enumerate(program.buffers)}
    lines = ["def step(table):", "    for stream in range(table[0]):"]
    lines += [f"        {line}" for line in _pointers(program, names)]
    for number, stage in enumerate(program.stages):
        lines += [f"        {line}" for line in _Stage(stage, names, number).lines()]
    return "\n".join(lines) + "\n"


def _pointers(program: Program, names: dict[str, str]) -> Iterator[str]:
    """One typed pointer per buffer: the caller's advance from stream to stream, the others stay."""
    for buffer in program.buffers:
        if buffer.role in ("constant", "scratch"):
            base = 1 if buffer.role == "constant" else 2
            yield f"{names[buffer.name]} = POINTERS_{buffer.dtype}(table[{base}] + {buffer.offset})"
    for word, buffer in enumerate(caller_buffers(program), start=3):
        size = buffer.size * item_size(buffer.dtype)
        yield f"{names[buffer.name]} = POINTERS_{buffer.dtype}(table[{word}] + stream * {size})"


class _Stage:
    """One stage as lines of Python. `total` is named after the stage, lest Numba unite two dtypes."""

    def __init__(self, stage: Stage, names: dict[str, str], number: int) -> None:
        self.stage = stage
        self.names = names
        self.total = f"t{number}"
        reduction = stage.reduction.extents if stage.reduction else ()
        self.extents = stage.extents + reduction

    def lines(self) -> Iterator[str]:
        outer = range(len(self.stage.extents))
        if self._finishes_apart():
            target = self._place(self.stage.target)
            yield from self._nest(outer, [*self._reduction(), f"{target} = {self.total}"])
            self.total = target
            yield from self._nest(outer, [self._store()])
        else:
            yield from self._nest(outer, [*self._reduction(), self._store()])

    def _finishes_apart(self) -> bool:
        """True when a loop of its own, which has vectors, may turn stored results of the reduction into values."""
        reduction, value = self.stage.reduction, self.stage.value
        if reduction is None or isinstance(value, Accumulated):
            return False
        return reduction.operand.dtype == value.dtype == "float32"

    def _store(self) -> str:
        value = self._text(self.stage.value)
        if self.stage.value.dtype == "bool":
            value = f"uint8({value})"
        return f"{self._place(self.stage.target)} = {value}"

    def _nest(self, axes: range, body: Iterable[str]) -> Iterator[str]:
        """Loops over `axes` around `body`; an axis of one point needs none."""
        indent = ""
        for axis in axes:
            if self.extents[axis] > 1:
                yield f"{indent}for i{axis} in range({self.extents[axis]}):"
                indent += "    "
        for line in body:
            yield indent + line

    def _reduction(self) -> Iterator[str]:
        reduction = self.stage.reduction
        if reduction is None:
            return
        yield f"{self.total} = {_neutral(reduction.kind, reduction.operand.dtype)}"
        inner = range(len(self.stage.extents), len(self.extents))
        combined = self._combine(reduction.kind, reduction.operand)
        yield from self._nest(inner, [f"{self.total} = {combined}"])

    def _combine(self, kind: str, operand: Expression) -> str:
        is_float = operand.dtype.startswith("float")
        if kind == "sum" and is_float:
            match operand:
                case Call(operation="multiply", operands=(x, y)):
                    return f"accumulate_product({self.total}, {self._text(x)}, {self._text(y)})"
            return f"accumulate({self.total}, {self._text(operand)})"
        operation = {"sum": "add", "product": "multiply", "max": "maximum", "min": "minimum"}[kind]
        return _call(operation, operand.dtype, operand.dtype, [self.total, self._text(operand)])

    def _text(self, expression: Expression) -> str:
        match expression:
            case Load():
                place = self._place(expression.access)
                return f"({place} != 0)" if expression.dtype == "bool" else place
            case Constant():
                return _literal(expression.value, expression.dtype)
            case AxisIndex():
                return f"i{expression.axis}" if self.extents[expression.axis] > 1 else "int64(0)"
            case Accumulated():
                return self.total
            case Call():
                operands = [self._text(operand) for operand in expression.operands]
                return _call(expression.operation, expression.operands[-1].dtype, expression.dtype, operands)

    def _place(self, access: Access) -> str:
        terms = [str(access.offset)] if access.offset else []
        for axis, stride in enumerate(access.strides):
            if stride and self.extents[axis] > 1:
                terms.append(f"i{axis}" if stride == 1 else f"i{axis} * {stride}")
        for lookup in access.lookups:
            terms.append(f"clamp({self._text(lookup.index)}, {lookup.extent - 1}) * {lookup.stride}")
        return f"{self.names[access.buffer]}[{' + '.join(terms) or '0'}]"


def _call(operation: str, operand: str, result: str, texts: list[str]) -> str:
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


def _neutral(kind: str, dtype: str) -> str:
    """What a reduction starts from, as a literal."""
    if kind in ("sum", "product"):
        return _literal(int(kind == "product"), dtype)
    if dtype.startswith("float"):
        return f"{dtype}({'-' if kind == 'max' else ''}inf)"
    bits, signed = item_size(dtype) * 8, dtype.startswith("int")
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return _literal(lowest if kind == "max" else highest, dtype)


def _literal(value: float | int | bool, dtype: str) -> str:
    if dtype == "bool":
        return str(bool(value))
    return f"{dtype}({float(value) if dtype.startswith('float') else int(value)!r})"
