"""A lowered program as text for people: its buffers, then each stage as a small loop nest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    Stored,
    buffer_bytes,
)

_SYMBOLS = {
    **{"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "floor_mod": "mod"},
    **{"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">="},
    **{"equal": "==", "not_equal": "!="},
    **{
        "and": "and",
        "or": "or",
        "xor": "xor",
        "bit_and": "&",
        "bit_or": "|",
        "bit_xor": "^",
        "shift_right": ">>",
    },
    "power": "**",
}


def dump(program: Program) -> str:
    """The program, one line per buffer and one short block per stage, headed by the stage's origin.

    Axes are called i0, i1, ...; those of a reduction r0, r1, ... A buffer's offset is in bytes.
    """
    heading = (
        f"{len(program.buffers)} buffers, {len(program.stages)} stages, "
        f"{program.weight_bytes} bytes of weights, {program.scratch_bytes} bytes of scratch"
    )
    stages = (line for number, stage in enumerate(program.stages) for line in _stage(number, stage))
    return "\n".join((heading, "", *map(_buffer, program.buffers), *stages)) + "\n"


def _buffer(buffer: Buffer) -> str:
    size = buffer_bytes(buffer)
    place = f" at {buffer.offset}" if buffer.role in ("constant", "scratch") else ""
    return f"{buffer.role:<10}  {buffer.name}: {buffer.dtype}[{buffer.size}], {size} bytes{place}"


def _stage(number: int, stage: Stage) -> Iterator[str]:
    """An empty line, the heading, the loops, the reduction when there is one, and the store."""
    axes = [f"i{axis}" for axis in range(len(stage.extents))]
    yield ""
    yield f"stage {number}: {stage.origin}"
    indent = "    "
    for axis, extent in zip(axes, stage.extents, strict=True):
        yield f"{indent}for {axis} in 0..{extent - 1}:"
        indent += "  "
    if stage.reduction:
        inner = [f"r{axis}" for axis in range(len(stage.reduction.extents))]
        ranges = zip(inner, stage.reduction.extents, strict=True)
        over = ", ".join(f"{axis} in 0..{extent - 1}" for axis, extent in ranges)
        kept = stage.reduction.kept
        if kept:
            target, value = _access(kept.target, axes + inner), _expression(kept.exact, axes + inner)
            stored = f"{kept.value.dtype}(kept = {value})" if kept.is_rounded else f"kept = {value}"
            yield f"{indent}over {over}: {target} = {stored}"
        operand = _expression(stage.reduction.operand, axes + inner)
        yield f"{indent}acc = {stage.reduction.kind} over {over} of {operand}"
    yield f"{indent}{_access(stage.target, axes)} = {_expression(stage.value, axes)}"


def _expression(expression: Expression, axes: Sequence[str]) -> str:
    match expression:
        case Load():
            return _access(expression.access, axes)
        case Constant():
            return str(expression.value)
        case AxisIndex():
            return axes[expression.axis]
        case Accumulated():
            return "acc"
        case Stored():
            return "kept"
        case Call():
            return _call(expression, axes)


def _call(call: Call, axes: Sequence[str]) -> str:
    operands = [_expression(operand, axes) for operand in call.operands]
    if call.operation in _SYMBOLS:
        return f"({f' {_SYMBOLS[call.operation]} '.join(operands)})"
    name = call.dtype if call.operation == "cast" else call.operation
    return f"{name}({', '.join(operands)})"


def _access(access: Access, axes: Sequence[str]) -> str:
    """The buffer with its flat address, such as `w[12*i0 + r0]`."""
    terms = [_scaled(axis, stride) for axis, stride in zip(axes, access.strides, strict=True) if stride]
    terms += [
        _scaled(f"clamp({_expression(lookup.index, axes)}, 0, {lookup.extent - 1})", lookup.stride)
        for lookup in access.lookups
    ]
    if access.offset or not terms:
        terms.append(str(access.offset))
    return f"{access.buffer}[{' + '.join(terms)}]"


def _scaled(term: str, factor: int) -> str:
    return term if factor == 1 else f"{factor}*{term}"
