"""Which expressions have a vector form: what CPUs have instructions for on whole vectors, and
approximations."""

from __future__ import annotations

from millstream_runtime.kernels.float32 import APPROXIMATIONS
from millstream_runtime.program import Accumulated, Call, Constant, Expression, Load, Stage, Stored, walk

_DTYPES = ("float32", "float16", "int32", "int8", "uint8")
_COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
_ON_INTEGERS = frozenset(
    [*_COMPARISONS, "add", "subtract", "multiply", "maximum", "minimum", "select", "cast"]
)
_ON_BOOLS = frozenset(["and", "or", "not"])
_ON_FLOATS = frozenset(
    [
        *("add", "subtract", "multiply", "divide", "negative", "absolute", "sqrt", "maximum", "minimum"),
        *(*_COMPARISONS, "is_nan", "select", "cast", "floor", "ceil", "round", "sign"),
        *APPROXIMATIONS,
    ]
)


def has_vector_form(expression: Expression) -> bool:
    """True for arithmetic on loads at addresses known beforehand whose result can be stored as a vector."""
    return expression.dtype in _DTYPES and all(map(_is_vector, walk(expression)))


def keeps_vectors(stage: Stage) -> bool:
    """True when what the stage's reduction keeps, if anything, can be computed in vectors."""
    kept = stage.reduction and stage.reduction.kept
    return kept is None or has_vector_form(kept.value)


def _is_vector(part: Expression) -> bool:
    match part:
        case Load():
            return part.dtype in _DTYPES and not part.access.lookups
        case Call():
            return part.dtype in (*_DTYPES, "bool") and part.operation in _operations(part)
        case Constant() | Accumulated() | Stored():
            return part.dtype in _DTYPES
    return False


def _operations(call: Call) -> frozenset[str]:
    """Those on the dtype that tells how the call is computed."""
    dtype = call.operands[-1].dtype
    if dtype not in _DTYPES:
        return _ON_BOOLS if dtype == "bool" else frozenset()
    return _ON_FLOATS if dtype == "float32" else _ON_INTEGERS
