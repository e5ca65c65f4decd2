"""The lowered step: straight-line loop nests over static buffers, as plain data.

A `Program` is what `millstream.lower` makes of a step graph and what every printer turns into code:
Python loops for Numba on the device, TVMScript and C on the host. It is data, not source text. It is
checked when it is read, so that a hostile plan cannot make generated code leave its buffers.

One `Stage` is one loop nest:

    for each point i of `extents`:
        acc = initial value of the reduction                    (when there is a reduction)
        for each point r of `reduction.extents`:
            acc = acc (sum | product | max | min) reduction.operand
        target = value                                          (`value` may read acc)

Axes are numbered: first those of `extents`, then those of the reduction. An `Access` addresses a flat
buffer at offset + sum(axis * stride) + sum(lookup), counted in elements. Every element of a buffer is
stored exactly once in a program, and before it is loaded: order among stages is the only dependency.
Programs describe one stream (batch 1); a printer may put a loop over streams around the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from millstream_runtime.errors import PlanInvalid

ROLES = ("input", "state", "output", "next_state", "constant", "scratch")
DTYPES = ("float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool")
REDUCTIONS = ("sum", "product", "max", "min")

#: Scalar operations and their number of operands. Operands have one dtype, the result has the dtype
#: of the operands but for comparisons and `is_nan` (bool) and `cast`. `select` is (condition, then,
#: else) and only the chosen branch counts. Integer `divide` truncates towards zero, `floor_mod` has the
#: sign of the divisor and `truncated_mod` of the dividend, `round` goes to the even neighbour, integer
#: arithmetic wraps. A float cast to an integer truncates towards zero.
OPERATIONS: dict[str, int] = {
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "floor_mod", "truncated_mod"), 2),
    **dict.fromkeys(("power", "maximum", "minimum", "bit_and", "bit_or", "bit_xor"), 2),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"), 2),
    **dict.fromkeys(("and", "or", "xor"), 2),
    **dict.fromkeys(("negative", "absolute", "sign", "sqrt", "exp", "log", "log1p", "erf"), 1),
    **dict.fromkeys(("sin", "cos", "tan", "tanh", "sigmoid", "floor", "ceil", "round"), 1),
    **dict.fromkeys(("sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh"), 1),
    **dict.fromkeys(("not", "is_nan", "cast"), 1),
    "select": 3,
}


@dataclass(frozen=True)
class Buffer:
    """A flat array of `size` elements that lives as its role says.

    Scratch buffers lie in one arena of `Program.scratch_bytes` at byte `offset`, where buffers whose
    lifetimes do not meet may overlap; constants lie in the weights blob at byte `offset`. For the
    other roles the buffer is one whole array given by the caller and `offset` is 0.
    """

    name: str
    role: str
    dtype: str
    size: int
    offset: int = 0


@dataclass(frozen=True)
class Lookup:
    """A data-dependent part of an address: clamp(index, 0, extent - 1) * stride. `index` is int64."""

    index: Expression
    extent: int
    stride: int


@dataclass(frozen=True)
class Access:
    """An address in a buffer: one stride per axis of the stage it stands in."""

    buffer: str
    offset: int
    strides: tuple[int, ...]
    lookups: tuple[Lookup, ...] = ()


@dataclass(frozen=True)
class Load:
    access: Access
    dtype: str


@dataclass(frozen=True)
class Constant:
    value: float | int | bool
    dtype: str


@dataclass(frozen=True)
class AxisIndex:
    """The running index of one axis, as int64."""

    axis: int
    dtype: str = "int64"


@dataclass(frozen=True)
class Accumulated:
    """The result of the stage's reduction; allowed in `Stage.value` only."""

    dtype: str


@dataclass(frozen=True)
class Call:
    operation: str
    operands: tuple[Expression, ...]
    dtype: str


Expression = Load | Constant | AxisIndex | Accumulated | Call


@dataclass(frozen=True)
class Reduction:
    """`kind` of reduction over `extents`; the accumulator has the operand's dtype and starts at the
    neutral element (0, 1, lowest, highest)."""

    kind: str
    extents: tuple[int, ...]
    operand: Expression


@dataclass(frozen=True)
class Stage:
    """One loop nest; `origin` says which module and operator it comes from."""

    origin: str
    extents: tuple[int, ...]
    reduction: Reduction | None
    value: Expression
    target: Access


@dataclass(frozen=True)
class Program:
    """One step of one stream. Inputs, states, outputs and next states are listed in graph order."""

    buffers: tuple[Buffer, ...]
    stages: tuple[Stage, ...]
    scratch_bytes: int
    weight_bytes: int

    def role(self, role: str) -> tuple[Buffer, ...]:
        """The buffers of one role, in order."""
        return tuple(b for b in self.buffers if b.role == role)

    def buffer(self, name: str) -> Buffer:
        """The buffer of that name; KeyError when there is none."""
        return {b.name: b for b in self.buffers}[name]


def item_size(dtype: str) -> int:
    """Bytes of one element."""
    return 1 if dtype == "bool" else int(dtype.lstrip("uintfloa")) // 8


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and everything below it, lookups' indices included."""
    yield expression
    if isinstance(expression, Call):
        for operand in expression.operands:
            yield from walk(operand)
    elif isinstance(expression, Load):
        for lookup in expression.access.lookups:
            yield from walk(lookup.index)
