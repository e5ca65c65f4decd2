"""The official ONNX cases as the lowering takes them.

Shapes and axes must be constant in a step graph, while the official cases feed them as inputs; so a case that
the lowering refuses as it stands is tried again with every input but the first stored in the model. Operators
that only make a constant from sizes have no input left then: theirs are all stored.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.numpy_helper
from official_cases import all_cases, array, exclusion, relative_bound
from onnx.backend.test.case.test_case import TestCase as Case

from millstream.graph import StepGraph
from millstream.lower import Lowered, lower
from millstream.lower.operators import FOLDED, OPERATORS
from millstream.lower.translate import Translation, translate

#: onnx itself cannot infer shapes through the function of this operator when its axes are left out.
ONNX_CANNOT_INFER = ("test_mvn",)
_MAKES_CONSTANTS = {"ConstantOfShape", "Range"}


@dataclass(frozen=True)
class Attempt:
    """A case in the form in which the lowering takes it, or in the last form in which it was refused."""

    case: Case
    model: onnx.ModelProto
    translation: Translation

    @property
    def inputs(self) -> list[np.ndarray]:
        """What is fed; the rest is stored in the model."""
        return [array(value) for value in self.case.data_sets[0][0]][: len(self.model.graph.input)]

    @property
    def outputs(self) -> list[np.ndarray]:
        """What must come out."""
        return [array(value) for value in self.case.data_sets[0][1]]

    @property
    def refusals(self) -> list[str]:
        """Why it is not lowered; empty when it is."""
        return [gap.why for gap in self.translation.gaps]

    def lowered(self) -> Lowered:
        """The fused program."""
        return lower(StepGraph(self.model))

    def agrees(self, results: list[np.ndarray]) -> None:
        """Assert that flat results are those of the case."""
        agree(self.case, results)


def agree(case: Case, results: list[np.ndarray]) -> None:
    """Assert that results are those of the case, shapes aside: integers exactly, floats within its bound."""
    for result, expected in zip(results, map(array, case.data_sets[0][1]), strict=True):
        assert result.dtype == expected.dtype
        if np.issubdtype(expected.dtype, np.floating):
            # Norms fold their constants and sum in float32: near zero that is one rounding of order 1.
            np.testing.assert_allclose(
                result.ravel(), expected.ravel(), rtol=relative_bound(case, expected), atol=case.atol + 1e-6
            )
        else:
            np.testing.assert_array_equal(result.ravel(), expected.ravel())


@functools.cache
def attempts() -> dict[str, Attempt]:
    """Every official case of the operators that the lowering claims, by name."""
    return {case.name: _attempt(case) for case in all_cases() if _claimed(case) and not exclusion(case)}


@functools.cache
def lowered_cases() -> dict[str, Attempt]:
    """Those that are lowered."""
    return {name: attempt for name, attempt in attempts().items() if not attempt.refusals}


def operators(case: Case) -> set[str]:
    """The operator types of a case's nodes."""
    return {node.op_type for node in case.model.graph.node}


def _claimed(case: Case) -> bool:
    standard = {node.domain for node in case.model.graph.node} <= {"", "ai.onnx"}
    return standard and operators(case) <= {*OPERATORS, *FOLDED} and case.name not in ONNX_CANNOT_INFER


def forms(case: Case) -> list[onnx.ModelProto]:
    """The case's model as it stands, then with inputs stored in it."""
    fed = len(case.model.graph.input)
    counts = (fed, 1, 0) if operators(case) & _MAKES_CONSTANTS else (fed, 1)
    return [_stored(case, count) for count in dict.fromkeys(counts)]


def _attempt(case: Case) -> Attempt:
    found = [Attempt(case, model, translate(StepGraph(model))) for model in forms(case)]
    return next((attempt for attempt in found if not attempt.refusals), found[-1])


def _stored(case: Case, fed: int) -> onnx.ModelProto:
    """The case's model with its inputs from number `fed` on as initialisers."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for value, given in list(zip(model.graph.input, case.data_sets[0][0], strict=True))[fed:]:
        model.graph.initializer.append(onnx.numpy_helper.from_array(array(given), value.name))
        model.graph.input.remove(value)
    return model
