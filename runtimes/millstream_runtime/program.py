"""The lowered step: straight-line loop nests over static buffers, as plain data.

A `Program` is what `millstream.lower` makes of a step graph and what every printer turns into code:
Python loops for Numba on the device, TVMScript and C on the host. It is data, not source text. It is
checked when it is read, so that a hostile plan cannot make generated code leave its buffers.

One `Stage` is one loop nest:

    for each point i of `extents`:
        acc = initial value of the reduction                    (when there is a reduction)
        for each point r of `reduction.extents`:
            reduction.kept.target = reduction.kept.value        (when it keeps what it reduces)
            acc = acc (sum | product | max | min) reduction.operand
        target = value                                          (`value` may read acc)

A float16 is only ever kept in memory: it is loaded, stored, and cast from and to float32, in which all is
computed.

`millstream_runtime.plan` writes and reads programs as JSON.

Axes are numbered: first those of `extents`, then those of the reduction. An `Access` addresses a flat
buffer at offset + sum(axis * stride) + sum(lookup), counted in elements. Every element of a buffer is
stored exactly once in a program, and before it is loaded: order among stages is the only dependency.
Programs describe one stream (batch 1); a printer may put a loop over streams around the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from millstream_runtime.errors import PlanInvalid

#: The first four belong to the caller.
CALLER_ROLES = ("input", "state", "output", "next_state")
ROLES = (*CALLER_ROLES, "constant", "scratch")
DTYPES = (
    "float32",
    "float64",
    "float16",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "bool",
)
REDUCTIONS = ("sum", "product", "max", "min")

#: Scalar operations and their number of operands. Operands have one dtype, the result has the dtype
#: of the operands but for comparisons and `is_nan` (bool) and `cast`. `select` is (condition, then,
#: else) and only the chosen branch counts. Integer `divide` truncates towards zero, `floor_mod` has the
#: sign of the divisor and `truncated_mod` of the dividend, `round` goes to the even neighbour, integer
#: arithmetic wraps. `shift_right` is of unsigned integers, by fewer bits than they have. A float cast to an
#: integer truncates towards zero. A float32 cast to float16 goes to the nearest, of two to the even one, what
#: lies beyond its range to infinity, and NaN stays NaN; those below its normal numbers are kept.
OPERATIONS: dict[str, int] = {
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "floor_mod", "truncated_mod"), 2),
    **dict.fromkeys(("power", "maximum", "minimum", "bit_and", "bit_or", "bit_xor"), 2),
    "shift_right": 2,
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
class Stored:
    """What the stage's reduction has just kept, before it was rounded to float16 if it was; allowed in
    `Reduction.operand` only."""

    dtype: str


@dataclass(frozen=True)
class Call:
    operation: str
    operands: tuple[Expression, ...]
    dtype: str


Expression = Load | Constant | AxisIndex | Accumulated | Stored | Call


@dataclass(frozen=True)
class Kept:
    """A value stored at every point of a reduction: a state that is written and read out in one pass."""

    value: Expression
    target: Access

    @property
    def exact(self) -> Expression:
        """What the reduction goes on with: the value, or what is rounded to float16 for it."""
        match self.value:
            case Call("cast", (exact,), "float16"):
                return exact
        return self.value

    @property
    def is_rounded(self) -> bool:
        """Whether memory holds another number than the reduction goes on with."""
        return self.exact is not self.value


@dataclass(frozen=True)
class Reduction:
    """`kind` of reduction over `extents`; the accumulator has the operand's dtype and starts at the
    neutral element (0, 1, lowest, highest)."""

    kind: str
    extents: tuple[int, ...]
    operand: Expression
    kept: Kept | None = None


@dataclass(frozen=True)
class Stage:
    """One loop nest; `origin` says which module and operator it comes from."""

    origin: str
    extents: tuple[int, ...]
    reduction: Reduction | None
    value: Expression
    target: Access

    @property
    def all_extents(self) -> tuple[int, ...]:
        """Of all axes, the reduction's last."""
        return self.extents + (self.reduction.extents if self.reduction else ())


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

    @property
    def callers(self) -> tuple[Buffer, ...]:
        """The buffers that the caller owns: inputs, states, outputs and next states, in graph order."""
        return tuple(buffer for role in CALLER_ROLES for buffer in self.role(role))

    def buffer(self, name: str) -> Buffer:
        """The buffer of that name; KeyError when there is none."""
        return {b.name: b for b in self.buffers}[name]


def read_back(reduction: Reduction) -> Expression:
    """The operand, with what the reduction keeps read from where it has just been stored, unless it was
    rounded there."""
    kept = reduction.kept
    if kept is None or kept.is_rounded:
        return reduction.operand
    load = Load(kept.target, kept.value.dtype)
    return rewrite(reduction.operand, lambda part: load if isinstance(part, Stored) else None)


@dataclass(frozen=True)
class Filled:
    """A program and the bytes of its constants: what the rewrites that lay it out for a machine pass on."""

    program: Program
    weights: bytes


def item_size(dtype: str) -> int:
    """Bytes of one element."""
    return 1 if dtype == "bool" else int(dtype.lstrip("uintfloa")) // 8


def limits(dtype: str) -> tuple[int, int]:
    """The lowest and the highest integer of an integer dtype."""
    bits = item_size(dtype) * 8
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.startswith("int") else (0, 2**bits - 1)


def neutral(reduction: str, dtype: str) -> float | int | bool:
    """What a reduction starts from, and gives of nothing: 0, 1, the lowest or the highest of its dtype."""
    if reduction in ("sum", "product"):
        return int(reduction == "product")
    if dtype == "bool":
        return reduction == "min"
    if dtype.startswith("float"):
        return -math.inf if reduction == "max" else math.inf
    return limits(dtype)[0 if reduction == "max" else 1]


def buffer_bytes(buffer: Buffer) -> int:
    """Bytes of a buffer of one stream."""
    return buffer.size * item_size(buffer.dtype)


def state_bytes(program: Program) -> int:
    """Bytes of the states of one stream."""
    return sum(map(buffer_bytes, program.role("state")))


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and everything below it, lookups' indices included."""
    yield expression
    if isinstance(expression, Call):
        for operand in expression.operands:
            yield from walk(operand)
    elif isinstance(expression, Load):
        for lookup in expression.access.lookups:
            yield from walk(lookup.index)


def loaded(stage: Stage) -> set[str]:
    """The buffers that a stage loads from."""
    roots = [stage.value]
    if stage.reduction:
        roots.append(stage.reduction.operand)
        if stage.reduction.kept:
            roots.append(stage.reduction.kept.value)
    return {part.access.buffer for root in roots for part in walk(root) if isinstance(part, Load)}


def stored_into(stage: Stage) -> set[str]:
    """The buffers that a stage stores into."""
    kept = stage.reduction and stage.reduction.kept
    return {stage.target.buffer, kept.target.buffer} if kept else {stage.target.buffer}


def rewrite(expression: Expression, visit: Callable[[Expression], Expression | None]) -> Expression:
    """Top-down replacement: `visit` returns what stands in an expression's place, or None to go below."""
    found = visit(expression)
    if found is not None:
        return found
    if isinstance(expression, Call):
        operands = tuple(rewrite(operand, visit) for operand in expression.operands)
        return replace(expression, operands=operands)
    if isinstance(expression, Load) and expression.access.lookups:
        lookups = tuple(
            replace(lookup, index=rewrite(lookup.index, visit)) for lookup in expression.access.lookups
        )
        return replace(expression, access=replace(expression.access, lookups=lookups))
    return expression


def check(program: Program) -> None:
    """Check a program's own rules: known names and dtypes, right arity, no address outside a buffer.

    Raises PlanInvalid naming the first stage that breaks one. What cannot be seen locally (every element
    stored once, before it is loaded) is checked on the host when the program is made.
    """
    names = [buffer.name for buffer in program.buffers]
    if len(set(names)) != len(names):
        raise PlanInvalid("two buffers share a name", where="plan")
    for buffer in program.buffers:
        _check_buffer(buffer, program)
    buffers = {buffer.name: buffer for buffer in program.buffers}
    for number, stage in enumerate(program.stages):
        try:
            _check_stage(stage, buffers)
        except _Broken as broken:
            raise PlanInvalid(str(broken), where=f"stage {number}, {stage.origin}") from None


class _Broken(Exception):
    """A rule broken inside a stage; `check` adds where."""


def _check_buffer(buffer: Buffer, program: Program) -> None:
    where = f"buffer {buffer.name}"
    if buffer.role not in ROLES or buffer.dtype not in DTYPES:
        raise PlanInvalid(f"unknown role {buffer.role!r} or dtype {buffer.dtype!r}", where=where)
    if buffer.size < 0 or buffer.offset < 0:
        raise PlanInvalid("negative size or offset", where=where)
    space = {"scratch": program.scratch_bytes, "constant": program.weight_bytes}.get(buffer.role)
    width = item_size(buffer.dtype)
    if space is None:
        if buffer.offset:
            raise PlanInvalid("only scratch and constants have an offset", where=where)
    elif buffer.offset % width or buffer.offset + buffer.size * width > space:
        raise PlanInvalid(f"misaligned, or outside its {space} bytes", where=where)


def _check_stage(stage: Stage, buffers: dict[str, Buffer]) -> None:
    extents = stage.extents
    if any(extent < 1 for extent in extents):
        raise _Broken("an axis without extent")
    accumulator = ""
    if stage.reduction:
        if stage.reduction.kind not in REDUCTIONS:
            raise _Broken(f"unknown reduction {stage.reduction.kind!r}")
        inner = extents + stage.reduction.extents
        if any(extent < 1 for extent in inner):
            raise _Broken("a reduction axis without extent")
        kept = stage.reduction.kept
        if kept:
            _check_store(kept.value, kept.target, inner, buffers)
        results = _Results(stored=kept.exact.dtype if kept else "")
        accumulator = _check_expression(stage.reduction.operand, inner, buffers, results)
        if accumulator == "float16":
            raise _Broken("a reduction in float16")
    _check_store(stage.value, stage.target, extents, buffers, _Results(accumulator))


@dataclass(frozen=True)
class _Results:
    """The dtypes of what an expression may name beside loads; empty where there is none."""

    accumulated: str = ""
    stored: str = ""


def _check_store(
    value: Expression,
    target: Access,
    extents: tuple[int, ...],
    buffers: dict[str, Buffer],
    results: _Results = _Results(),
) -> None:
    """Check a value and where it is stored."""
    dtype = _check_expression(value, extents, buffers, results)
    buffer = _check_access(target, extents, buffers, _Results())
    if target.lookups:
        raise _Broken("a store at a data-dependent address")
    if buffer.role not in ("output", "next_state", "scratch"):
        raise _Broken(f"a store into {buffer.role} {buffer.name}")
    if buffer.dtype != dtype:
        raise _Broken(f"a {dtype} stored into {buffer.dtype} {buffer.name}")


def _check_expression(
    expression: Expression, extents: tuple[int, ...], buffers: dict[str, Buffer], results: _Results
) -> str:
    """Check an expression and return its dtype."""
    if expression.dtype not in DTYPES:
        raise _Broken(f"unknown dtype {expression.dtype!r}")
    match expression:
        case Load():
            buffer = _check_access(expression.access, extents, buffers, results)
            if buffer.dtype != expression.dtype:
                raise _Broken(f"{buffer.name} holds {buffer.dtype}, loaded as {expression.dtype}")
        case Constant():
            if expression.dtype == "float16":
                raise _Broken("a constant in float16")
            if expression.dtype not in ("float32", "float64") and not math.isfinite(expression.value):
                raise _Broken(f"{expression.value} is no {expression.dtype}")
        case AxisIndex():
            if not 0 <= expression.axis < len(extents):
                raise _Broken(f"no axis {expression.axis}")
        case Accumulated():
            if expression.dtype != results.accumulated:
                raise _Broken("the accumulator is read outside its stage, or as another dtype")
        case Stored():
            if expression.dtype != results.stored:
                raise _Broken("what a reduction keeps is read outside it, or as another dtype")
        case Call():
            _check_call(expression, extents, buffers, results)
    return expression.dtype


#: All that there is of float16, whichever of the two is cast.
_OF_FLOAT16 = ("cast", {"float16", "float32"})
_BOOLEAN_RESULT = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "is_nan")


def _check_call(call: Call, extents: tuple[int, ...], buffers: dict[str, Buffer], results: _Results) -> None:
    if OPERATIONS.get(call.operation) != len(call.operands):
        raise _Broken(f"unknown operation or wrong number of operands: {call.operation}")
    dtypes = [_check_expression(x, extents, buffers, results) for x in call.operands]
    if "float16" in (call.dtype, *dtypes) and (call.operation, {call.dtype, *dtypes}) != _OF_FLOAT16:
        raise _Broken(f"{call.operation} of {', '.join(dtypes)} to {call.dtype}")
    if call.operation == "cast":
        return
    if call.operation == "select":
        condition, *dtypes = dtypes
        if condition != "bool":
            raise _Broken("select on something that is no bool")
    result = "bool" if call.operation in _BOOLEAN_RESULT else dtypes[0]
    if len(set(dtypes)) != 1 or call.dtype != result:
        raise _Broken(f"{call.operation} of {', '.join(dtypes)} cannot give {call.dtype}")


def _check_access(
    access: Access, extents: tuple[int, ...], buffers: dict[str, Buffer], results: _Results
) -> Buffer:
    buffer = buffers.get(access.buffer)
    if buffer is None:
        raise _Broken(f"no buffer {access.buffer!r}")
    if len(access.strides) != len(extents):
        raise _Broken(f"{len(access.strides)} strides for {len(extents)} axes")
    reaches = [stride * (extent - 1) for stride, extent in zip(access.strides, extents, strict=True)]
    for lookup in access.lookups:
        if lookup.extent < 1:
            raise _Broken("a lookup without extent")
        if _check_expression(lookup.index, extents, buffers, results) != "int64":
            raise _Broken("a lookup whose index is no int64")
        reaches.append(lookup.stride * (lookup.extent - 1))
    lowest = access.offset + sum(min(reach, 0) for reach in reaches)
    highest = access.offset + sum(max(reach, 0) for reach in reaches)
    if lowest < 0 or highest >= buffer.size:
        raise _Broken(f"address {lowest}..{highest} outside {buffer.name} of {buffer.size} elements")
    return buffer
