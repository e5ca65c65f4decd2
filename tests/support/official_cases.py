"""The node tests that ship with ONNX, and the rules by which some of them are not ours to pass."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx.defs
import onnx.numpy_helper
from onnx.backend.test.case.test_case import TestCase as Case
from onnx.backend.test.loader import load_model_tests

from millstream.graph import OPSET
from millstream.reference import OPERATORS, unsupported
from millstream.reference.precision import DTYPES

SEQUENCES_AND_OPTIONALS = "a value is no tensor; a step graph holds tensors only"
_DTYPE = "a tensor is text, bfloat16 or narrower than 4 bits or an 8-bit float; the reference refuses it"
_TRAINING = "training mode depends on the batch or on chance; the reference refuses it"
_OLD_SPLIT = f"Split without sizes needs num_outputs since opset 18, and step graphs are of opset {OPSET}"
_NEW_ATTRIBUTE = f"an attribute of the operator is newer than opset {OPSET}"


@functools.cache
def all_cases() -> list[Case]:
    """Every official node test all of whose operators the reference claims to define."""
    with warnings.catch_warnings():
        # Some cases are computed with overflow or division by zero on purpose.
        warnings.simplefilter("ignore", RuntimeWarning)
        cases = load_model_tests(kind="node")
    return [case for case in cases if _operators(case) <= set(OPERATORS)]


def exclusion(case: Case) -> str:
    """Why a case is not run, or an empty text."""
    values = [value for data in case.data_sets for side in data for value in side]
    if any(isinstance(value, list) or value is None for value in values):
        return SEQUENCES_AND_OPTIONALS
    if not set(_dtypes(case, values)) <= DTYPES:
        return _DTYPE
    if "training" in case.name:
        return _TRAINING
    if case.name.endswith("_opset13") and "split_equal" in case.name:
        return _OLD_SPLIT
    if unsupported(case.model) and all(_newer_attributes(node) for node in case.model.graph.node):
        return _NEW_ATTRIBUTE
    return ""


def array(value: Any) -> np.ndarray:
    """A case's input or output, which is stored as an array or as a tensor."""
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def relative_bound(case: Case, expected: np.ndarray) -> float:
    """How far a float result may be off. Expanded cases round to float16 between nodes, and the two sides may
    take different neighbours there."""
    return max(case.rtol, 2 * np.finfo(np.float16).eps if expected.dtype == np.float16 else 0)


def _operators(case: Case) -> set[str]:
    # A domain of its own marks an operator as none of the standard ones.
    return {f"{node.domain}:{node.op_type}".removeprefix(":") for node in case.model.graph.node}


def _dtypes(case: Case, values: list[Any]) -> Iterator[str]:
    """The names of all dtypes that a case names: of its data, its stored tensors and its casts."""
    yield from (array(value).dtype.name for value in values)
    for node in case.model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to":
                yield onnx.helper.tensor_dtype_to_np_dtype(attribute.i).name
            if attribute.HasField("t"):
                yield onnx.helper.tensor_dtype_to_np_dtype(attribute.t.data_type).name


def _newer_attributes(node: onnx.NodeProto) -> set[str]:
    return {a.name for a in node.attribute} - set(onnx.defs.get_schema(node.op_type, OPSET).attributes)
