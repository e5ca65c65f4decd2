"""The official ONNX cases through the Relax target, each as a step whose tensors have a batch of 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
from lowered_cases import ONNX_CANNOT_INFER, agree, attempts, forms, lowered_cases
from official_cases import all_cases, array, exclusion
from onnx.backend.test.case.test_case import TestCase as Case
from relax_steps import TARGET, opened, spec_of

from millstream.graph import StepGraph
from millstream.targets import relax


@dataclass(frozen=True)
class Verdict:
    """What became of a case: refused, or right, or wrong in some way."""

    right: bool
    wrong: str = ""


def refused_by_lowering() -> dict[str, Case]:
    """The cases of the reference that the fused lowering takes in no form; "expanded" ones left out."""
    return {
        case.name: case
        for case in all_cases()
        if not exclusion(case)
        and "_expanded" not in case.name
        and case.name not in (*lowered_cases(), *ONNX_CANNOT_INFER)
    }


def sample(step: int) -> dict[str, Case]:
    """Every so many of the cases that the lowering takes."""
    names = [name for name in lowered_cases() if "_expanded" not in name]
    return {name: attempts()[name].case for name in names[::step]}


def verdict(case: Case) -> Verdict:
    """Run the first of the case's forms that TVM takes."""
    for model in forms(case):
        graph = StepGraph(_as_step(model))
        if not relax.gaps(graph, TARGET):
            fed = list(map(array, case.data_sets[0][0]))[: len(model.graph.input)]
            try:
                agree(case, _results(graph, fed))
            except AssertionError as error:
                return Verdict(False, str(error))
            return Verdict(True)
    return Verdict(False)


def _results(graph: StepGraph, fed: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the compiled step makes of one stream's inputs."""
    outputs = [np.full((1, *t.shape), 99, t.dtype) for t in spec_of(graph).outputs]
    inputs = [np.ascontiguousarray(given).reshape(1, *given.shape) for given in fed]
    opened(graph).bind(inputs, [], outputs, [])()
    return outputs


def _as_step(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model between reshapes that take a batch of 1 off its inputs and put one on its outputs."""
    step = onnx.ModelProto()
    step.CopyFrom(model)
    graph = step.graph
    before = [_reshaped(graph, value, f"{value.name} of a batch", True) for value in graph.input]
    after = [_reshaped(graph, value, f"{value.name} of a batch", False) for value in graph.output]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return step


def _reshaped(
    graph: onnx.GraphProto, value: onnx.ValueInfoProto, name: str, is_input: bool
) -> onnx.NodeProto:
    """The node between a tensor of the model and the one of a batch, which takes its place in `graph`."""
    kind = value.type.tensor_type
    shape = [dim.dim_value for dim in kind.shape.dim]
    target = np.array(shape if is_input else [1, *shape], np.int64)
    graph.initializer.append(onnx.numpy_helper.from_array(target, f"{name}: shape"))
    ends = (name, value.name) if is_input else (value.name, name)
    value.CopyFrom(oh.make_tensor_value_info(name, kind.elem_type, [1, *shape]))
    return oh.make_node("Reshape", [ends[0], f"{name}: shape"], [ends[1]])
