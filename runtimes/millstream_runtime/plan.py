"""A program as bytes: `dump` writes `plan.json`, `load` reads it back and checks it.

Expressions are nested lists whose first item is their kind, so that a plan stays small:

    ["load", dtype, access]  ["constant", dtype, value]  ["axis", number]
    ["accumulated", dtype]  ["stored", dtype]  ["call", operation, dtype, operands...]
    access = [buffer, offset, strides, [[index, extent, stride]...]]

Floats that JSON cannot hold are written as the texts "inf", "-inf" and "nan".
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from millstream_runtime.errors import PlanInvalid
from millstream_runtime.program import (
    Access,
    Accumulated,
    AxisIndex,
    Buffer,
    Call,
    Constant,
    Expression,
    Kept,
    Load,
    Lookup,
    Program,
    Reduction,
    Stage,
    Stored,
    check,
)

MAX_DEPTH = 200


def dump(program: Program) -> bytes:
    """The program as UTF-8 JSON; the same program gives the same bytes."""
    return json.dumps(_program_out(program), separators=(",", ":"), allow_nan=False).encode()


def load(data: bytes) -> Program:
    """Read and check a plan. Raises PlanInvalid when it is malformed or breaks a program's rules."""
    try:
        program = _program_in(json.loads(data))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise PlanInvalid(
            "the plan cannot be read", where="plan.json", why=f"{type(error).__name__}: {error}"
        ) from error
    check(program)
    return program


def _program_out(program: Program) -> dict[str, Any]:
    return {
        "scratch_bytes": program.scratch_bytes,
        "weight_bytes": program.weight_bytes,
        "buffers": [[b.name, b.role, b.dtype, b.size, b.offset] for b in program.buffers],
        "stages": [_stage_out(stage) for stage in program.stages],
    }


def _stage_out(stage: Stage) -> dict[str, Any]:
    reduction = stage.reduction
    return {
        "origin": stage.origin,
        "extents": list(stage.extents),
        "reduction": reduction and _reduction_out(reduction),
        "value": _expression_out(stage.value),
        "target": _access_out(stage.target),
    }


def _reduction_out(reduction: Reduction) -> list[Any]:
    kept = reduction.kept
    return [
        reduction.kind,
        list(reduction.extents),
        _expression_out(reduction.operand),
        *([_expression_out(kept.value), _access_out(kept.target)] if kept else []),
    ]


def _expression_out(expression: Expression) -> list[Any]:
    match expression:
        case Load():
            return ["load", expression.dtype, _access_out(expression.access)]
        case Constant():
            return ["constant", expression.dtype, _scalar_out(expression.value)]
        case AxisIndex():
            return ["axis", expression.axis]
        case Accumulated():
            return ["accumulated", expression.dtype]
        case Stored():
            return ["stored", expression.dtype]
        case Call():
            operands = [_expression_out(operand) for operand in expression.operands]
            return ["call", expression.operation, expression.dtype, *operands]


def _access_out(access: Access) -> list[Any]:
    lookups = [[_expression_out(x.index), x.extent, x.stride] for x in access.lookups]
    return [access.buffer, access.offset, list(access.strides), lookups]


def _scalar_out(value: float | int | bool) -> float | int | bool | str:
    return value if math.isfinite(value) else str(float(value))


def _program_in(data: Any) -> Program:
    buffers = (
        Buffer(_text(n), _text(r), _text(d), _integer(s), _integer(o)) for n, r, d, s, o in data["buffers"]
    )
    return Program(
        buffers=tuple(buffers),
        stages=tuple(_stage_in(stage) for stage in data["stages"]),
        scratch_bytes=_integer(data["scratch_bytes"]),
        weight_bytes=_integer(data["weight_bytes"]),
    )


def _stage_in(data: Any) -> Stage:
    reduction = None
    if data["reduction"] is not None:
        kind, extents, operand, *kept = data["reduction"]
        reduction = Reduction(_text(kind), _integers(extents), _expression_in(operand), _kept_in(kept))
    return Stage(
        origin=_text(data["origin"]),
        extents=_integers(data["extents"]),
        reduction=reduction,
        value=_expression_in(data["value"]),
        target=_access_in(data["target"]),
    )


def _kept_in(data: Sequence[Any]) -> Kept | None:
    if not data:
        return None
    value, target = data
    return Kept(_expression_in(value), _access_in(target))


def _expression_in(data: Any, depth: int = 0) -> Expression:
    if depth > MAX_DEPTH:
        raise ValueError("expression nested too deeply")
    match data:
        case ["load", dtype, access]:
            return Load(_access_in(access, depth + 1), _text(dtype))
        case ["constant", dtype, value]:
            return Constant(_scalar_in(value), _text(dtype))
        case ["axis", number]:
            return AxisIndex(_integer(number))
        case ["accumulated", dtype]:
            return Accumulated(_text(dtype))
        case ["stored", dtype]:
            return Stored(_text(dtype))
        case ["call", operation, dtype, *operands]:
            read = tuple(_expression_in(operand, depth + 1) for operand in operands)
            return Call(_text(operation), read, _text(dtype))
    raise ValueError(f"not an expression: {str(data)[:60]}")


def _access_in(data: Any, depth: int = 0) -> Access:
    buffer, offset, strides, lookups = data
    read = (Lookup(_expression_in(i, depth + 1), _integer(e), _integer(s)) for i, e, s in lookups)
    return Access(_text(buffer), _integer(offset), _integers(strides), tuple(read))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected an integer, found {value!r}")
    return value


def _integers(values: Any) -> tuple[int, ...]:
    return tuple(_integer(value) for value in values)


def _scalar_in(value: Any) -> float | int | bool:
    if isinstance(value, str):
        return float(value)
    if not isinstance(value, (bool, int, float)):
        raise TypeError(f"expected a number, found {value!r}")
    return value
