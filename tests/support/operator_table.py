"""`docs/operators.md`: what the official ONNX cases say about every operator.

python tests/support/operator_table.py > docs/operators.md
"""

from __future__ import annotations

import textwrap

import onnx.defs
from lowered_cases import attempts, operators
from official_cases import all_cases, exclusion

from millstream import reference
from millstream.graph import OPSET
from millstream.lower.operators import FOLDED, OPERATORS, REFUSED

_HEAD = f"""# Operators

Made by `python tests/support/operator_table.py > docs/operators.md` from the node tests that ship with
ONNX; a test keeps it up to date. Step graphs are of opset {OPSET}, with static shapes.

- **reference**: the cases that the NumPy definition passes (`tests/reference/test_official_cases.py`).
- **lowered**: the cases that the fused program takes, of those that the reference passes. All of them pass
  as a program in NumPy (`tests/lower/test_lower_official_cases.py`) and compiled by Numba, by TVM and as C
  (`tests/backends/test_official_cases_compiled.py`).
- **not covered**: what the fused program refuses, with the name of the node's submodule; never passed over.
  TVM's own operators may take it: [TVM's Relax path](relax.md).

Cases called "expanded" are not counted: they are other cases again, in operators that have their own. What
torch itself exports for the usual parts of sequence models is in `tests/export/test_torch_constructs.py`.

| operator | reference | lowered | not covered |
|---|---:|---:|---|
"""

_SIZES = "sizes that are no constants"
_RECURRENT = "activations other than sigmoid, tanh, relu; sequence lengths"
#: Limits that no official case shows.
_LIMITS = {
    "BatchNormalization": "training mode; statistics that are no constants",
    "Dropout": "training mode",
    "GRU": _RECURRENT,
    "LSTM": _RECURRENT,
    "RNN": _RECURRENT,
    "ConstantOfShape": _SIZES,
    "CumSum": "an axis that is no constant",
    "Expand": _SIZES,
    "OneHot": "a depth that is no constant",
    "Pad": _SIZES,
    "Range": _SIZES,
    "Reshape": _SIZES,
    "Slice": _SIZES,
    "Split": _SIZES,
    "Tile": _SIZES,
    "TopK": "a k that is no constant",
}
_OTHER_TESTS = "other tests"
#: What is not covered of operators that the lowering does not have.
_RELAX = "all of it"


def table() -> str:
    """The whole page."""
    rows = [_row(operator) for operator in sorted(reference.OPERATORS)]
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows) + _rest()


def _row(operator: str) -> tuple[str, str, str, str]:
    passed = [case.name for case in all_cases() if operator in operators(case) and not exclusion(case)]
    named = [name for name in passed if "_expanded" not in name]
    limits = [_LIMITS[operator]] if operator in _LIMITS else []
    if operator in FOLDED:
        return operator, str(len(named)), "a constant", "; ".join(limits)
    tried = [attempts()[name] for name in named if name in attempts()]
    taken = [attempt for attempt in tried if not attempt.refusals]
    refusals = {why for attempt in tried for why in attempt.refusals if f"opset {OPSET}" not in why}
    lowered = f"{len(taken)} of {len(named)}" if taken or operator not in OPERATORS else _OTHER_TESTS
    uncovered = "; ".join([*limits, *sorted(map(_short, refusals))]) if operator in OPERATORS else _RELAX
    return operator, str(len(named) or _OTHER_TESTS), lowered, uncovered


def _short(refusal: str) -> str:
    return refusal.removesuffix(" is not lowered").removeprefix("dtype ")


def _rest() -> str:
    """The operators of ONNX that are not in the table, and what would help with the commonest of them."""
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    missing = ", ".join(sorted(known - set(reference.OPERATORS)))
    remedies = "".join(f"- {name}: {why}; {remedy}\n" for name, (why, remedy) in sorted(REFUSED.items()))
    listed = "\n".join(textwrap.wrap(f"Not defined, and so refused at export: {missing}.", 105))
    return f"\n{listed}\n\n{remedies}"


if __name__ == "__main__":
    print(table(), end="")
