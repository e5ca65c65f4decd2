"""The meaning of a lowered program, in NumPy: slow, obvious, and the oracle of every printer.

Each stage is evaluated at once over its whole index grid. Arithmetic is done in the dtype that the
program states, so float32 stays float32 and integers wrap. `runtimes/millstream_runtime/program.py`
says what the operations mean; where C leaves a case open it is closed here and in every printer:
division by zero gives 0 on integers, a float cast to an integer saturates and NaN becomes 0, and the
power of integers is computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millstream_runtime.program import (
    Access,
    Accumulated,
    AxisIndex,
    Call,
    Constant,
    Expression,
    Kept,
    Load,
    Program,
    Reduction,
    Stage,
    Stored,
)

#: Of any dtype: what is allowed on it is the program's affair.
Array = NDArray[Any]


def execute(
    program: Program, weights: bytes, inputs: Sequence[Array], states: Sequence[Array]
) -> tuple[list[Array], list[Array]]:
    """Run one step of one stream.

    `inputs` and `states` are arrays in graph order, of any shape with the element count and dtype that
    the program states. Returns flat outputs and next states. Elements that no stage stores come back
    as poison (NaN, or the integer -1), as does scratch that is loaded before it is stored.
    """
    memory = _memory(program, weights)
    for role, arrays in (("input", inputs), ("state", states)):
        for buffer, array in zip(program.role(role), arrays, strict=True):
            memory[buffer.name][:] = np.asarray(array).ravel()
    with np.errstate(all="ignore"):
        for stage in program.stages:
            _run(stage, memory)
    outputs = [memory[buffer.name] for buffer in program.role("output")]
    return outputs, [memory[buffer.name] for buffer in program.role("next_state")]


def _memory(program: Program, weights: bytes) -> dict[str, Array]:
    """Every buffer as a flat array; scratch buffers share one arena, as they will on the device."""
    arenas = {
        "constant": np.frombuffer(weights, np.uint8),
        "scratch": np.full(program.scratch_bytes, 255, np.uint8),
    }
    memory = {}
    for buffer in program.buffers:
        dtype = np.dtype(buffer.dtype)
        size = buffer.size * dtype.itemsize
        arena = arenas.get(buffer.role)
        place = np.full(size, 255, np.uint8) if arena is None else arena[buffer.offset : buffer.offset + size]
        memory[buffer.name] = place.view(dtype)
    return memory


def _run(stage: Stage, memory: Mapping[str, Array]) -> None:
    accumulated = _reduce(stage.reduction, stage.extents, memory) if stage.reduction else None
    _store(stage.value, stage.target, stage.extents, memory, accumulated)


def _store(
    expression: Expression,
    target: Access,
    extents: tuple[int, ...],
    memory: Mapping[str, Array],
    result: Array | None,
) -> None:
    """Store a value over a whole grid."""
    value = np.broadcast_to(_evaluate(expression, _grid(extents), memory, result), extents)
    memory[target.buffer][_address(target, _grid(extents), memory, None)] = value


def _keep(kept: Kept, extents: tuple[int, ...], memory: Mapping[str, Array]) -> Array:
    """Store what a reduction keeps, and give what it goes on with."""
    exact = _evaluate(kept.exact, _grid(extents), memory, None)
    _store(kept.value, kept.target, extents, memory, None)
    return exact


def _reduce(reduction: Reduction, outer: tuple[int, ...], memory: Mapping[str, Array]) -> Array:
    extents, kept = outer + reduction.extents, reduction.kept
    stored = _keep(kept, extents, memory) if kept else None
    values = _evaluate(reduction.operand, _grid(extents), memory, stored)
    values = np.broadcast_to(values, extents).reshape(*outer, -1)
    return _REDUCTIONS[reduction.kind](values, axis=-1, dtype=values.dtype)


def _grid(extents: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """One index array per axis, broadcastable to `extents`."""
    return [axis.astype(np.int64) for axis in np.ogrid[tuple(slice(extent) for extent in extents)]]


def _address(
    access: Access, grid: list[NDArray[np.int64]], memory: Mapping[str, Array], result: Array | None
) -> NDArray[np.int64]:
    address = np.array(access.offset)
    for index, stride in zip(grid, access.strides, strict=True):
        address = address + index * stride
    for lookup in access.lookups:
        index = _evaluate(lookup.index, grid, memory, result)
        address = address + np.clip(index, 0, lookup.extent - 1) * lookup.stride
    return address


def _evaluate(
    expression: Expression,
    grid: list[NDArray[np.int64]],
    memory: Mapping[str, Array],
    result: Array | None,
) -> Array:
    """`result` is what the reduction gave or, within it, what it keeps."""
    match expression:
        case Load():
            return memory[expression.access.buffer][_address(expression.access, grid, memory, result)]
        case Constant():
            return np.asarray(expression.value, expression.dtype)
        case AxisIndex():
            return grid[expression.axis]
        case Accumulated() | Stored():
            if result is None:
                raise KeyError("a result outside its place")
            return result
        case Call():
            operands = [_evaluate(operand, grid, memory, result) for operand in expression.operands]
            if expression.operation == "cast":
                return _cast(operands[0], np.dtype(expression.dtype))
            return np.asarray(_OPERATIONS[expression.operation](*operands), expression.dtype)


def _cast(x: Array, dtype: np.dtype) -> Array:
    """C's conversion, with float to integer closed: saturating, and NaN to 0."""
    if dtype.kind == "b" or x.dtype.kind != "f" or dtype.kind == "f":
        return x.astype(dtype)
    limits = np.iinfo(dtype)
    whole = np.trunc(np.where(np.isnan(x), 0.0, x.astype(np.float64)))
    inside = (whole >= float(limits.min)) & (whole < float(limits.max) + (limits.bits < 64))
    exact = np.where(inside, whole, 0.0).astype(dtype)
    return np.where(inside, exact, np.where(whole > 0, limits.max, limits.min).astype(dtype))


def _divide(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.divide(x, y)
    floored = np.floor_divide(x, y)
    rounded_down = (np.remainder(x, y) != 0) & ((x < 0) != (y < 0))
    return floored + rounded_down.astype(x.dtype)


def _power(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.power(x, y)
    return _cast(np.power(x.astype(np.float64), y.astype(np.float64)), x.dtype)


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow for large |x|."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, np.ones_like(small)) / (1 + small)


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def _whole(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Rounding leaves integers as they are; NumPy would turn them into floats."""
    return lambda x: function(x) if x.dtype.kind == "f" else x


_REDUCTIONS: dict[str, Callable[..., Array]] = {
    "sum": np.sum,
    "product": np.prod,
    "max": lambda values, axis, dtype: np.max(values, axis=axis),
    "min": lambda values, axis, dtype: np.min(values, axis=axis),
}

_OPERATIONS: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": _divide,
    "floor_mod": np.mod,
    "truncated_mod": np.fmod,
    "power": _power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "bit_and": np.bitwise_and,
    "bit_or": np.bitwise_or,
    "bit_xor": np.bitwise_xor,
    "shift_right": np.right_shift,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
    "not": np.logical_not,
    "negative": np.negative,
    "absolute": np.absolute,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "erf": _erf,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "sigmoid": _sigmoid,
    "floor": _whole(np.floor),
    "ceil": _whole(np.ceil),
    "round": _whole(np.rint),
    "is_nan": np.isnan,
    "select": np.where,
}
