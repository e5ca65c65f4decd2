"""Every pass keeps a program sound and its numbers the same, on steps that torch traced."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import pytest
import system_steps
from lowered_models import MODELS, graph_of, lmuformer_jv
from torch import nn

from millstream.graph import BATCH, StatePair, StepGraph, build
from millstream.lower import fuse, gaps, lower
from millstream.lower.draft import Draft
from millstream.lower.execute import execute
from millstream.lower.memory import assign
from millstream.lower.passes import FINAL, FUSION
from millstream.lower.passes.prune import prune
from millstream.lower.soundness import check_dataflow
from millstream.lower.translate import translate
from millstream.quantize.states.storages import FLOAT16
from millstream.quantize.states.writing import narrowed
from millstream.reference import prepare
from millstream_runtime import plan
from millstream_runtime.program import buffer_bytes, check, state_bytes

F = "float32"
#: Fused float32 arithmetic against the reference's float64 sums, values of order 1.
_BOUND = 5e-6


def _inputs(graph: StepGraph) -> list[np.ndarray]:
    generator = np.random.default_rng(2)
    values = []
    for tensor in (*graph.inputs, *graph.state_tensors):
        shape = (1, *tensor.shape[1:])
        normal = generator.standard_normal(shape)
        values.append(
            normal.astype(tensor.dtype) if tensor.dtype.kind == "f" else np.ones(shape, tensor.dtype)
        )
    return values


def _agrees(graph: StepGraph, draft: Draft) -> None:
    check_dataflow(draft)
    program, weights = assign(prune(draft))
    check(program)
    values = _inputs(graph)
    names = [value.name for value in graph.model.graph.input]
    want = prepare(graph.model)(dict(zip(names, values, strict=True)))
    count = len(graph.inputs)
    outputs, states = execute(program, weights, values[:count], values[count:])
    for value, got in zip(graph.model.graph.output, [*outputs, *states], strict=True):
        expected = want[value.name].ravel()
        if expected.dtype.kind == "f":
            # Where float32 differ by their bound, float16 may be neighbours.
            bound = max(_BOUND, np.finfo(expected.dtype).eps if expected.dtype == np.float16 else 0)
            np.testing.assert_allclose(got, expected, rtol=bound, atol=bound)
        else:
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_each_pass_keeps_the_numbers(make: type[nn.Module]) -> None:
    graph = graph_of(make)
    draft = translate(graph).draft
    _agrees(graph, draft)
    for run in (*FUSION, *FUSION, *FINAL):
        draft = run(draft)
        _agrees(graph, draft)


def _halved(name: str) -> StepGraph:
    """The step of a system with its float32 states in float16."""
    graph = system_steps.graph_of(name)
    return narrowed(graph, {t.name: FLOAT16 for t in graph.state_tensors if t.dtype == np.float32})


#: A state with and without a ring, updated and read out, and a delta rule, which reads its state before, too.
_WITH_A_MEMORY = ("mamba", "gated_deltanet", "gla", "retnet")


@pytest.mark.parametrize("name", _WITH_A_MEMORY)
def test_each_pass_keeps_the_numbers_of_states_in_float16(name: str) -> None:
    graph = _halved(name)
    draft = translate(graph).draft
    _agrees(graph, draft)
    for run in (*FUSION, *FUSION, *FUSION, *FINAL):
        draft = run(draft)
        _agrees(graph, draft)


@pytest.mark.parametrize("name", _WITH_A_MEMORY)
def test_states_in_float16_take_no_more_stages_or_scratch(name: str) -> None:
    plain, halved = system_steps.lowered(name).program, lower(_halved(name)).program
    assert len(halved.stages) == len(plain.stages)
    assert halved.scratch_bytes == plain.scratch_bytes
    sizes = {buffer.name: buffer_bytes(buffer) for buffer in plain.role("state") if buffer.dtype == F}
    assert state_bytes(halved) == state_bytes(plain) - sum(sizes.values()) // 2


def test_what_else_reads_a_state_before_it_is_rounded_leaves_it_in_memory() -> None:
    """A sum rounds what it keeps only where nobody else asks for the float32."""
    graph = system_steps.graph_of("gla")
    model = onnx.ModelProto()
    model.CopyFrom(_halved("gla").model)
    (pair,) = graph.states
    exact = f"{pair.next_name}.float"
    shape = [d.dim_value for d in _shape_of(model, pair.name)[1:]]
    model.graph.node.append(oh.make_node("Sub", [exact, "before"], ["behind"]))
    for name, values in (("before", model.graph.input), ("behind", model.graph.output)):
        values.append(oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, *shape]))
    also = build(model, [pair, StatePair("before", "behind")])
    draft = translate(also).draft
    for run in (*FUSION, *FUSION, *FUSION, *FINAL):
        draft = run(draft)
    _agrees(also, draft)
    assert not any(s.reduction and s.reduction.kept and s.reduction.kept.is_rounded for s in draft.stages)


def _shape_of(model: onnx.ModelProto, name: str) -> Any:
    (found,) = (value for value in model.graph.input if value.name == name)
    return found.type.tensor_type.shape.dim


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_fusion_ends_and_removes_stages(make: type[nn.Module]) -> None:
    draft = translate(graph_of(make)).draft
    fused = fuse(draft)
    assert fuse(fused).stages == fused.stages
    assert len(fused.stages) < len(draft.stages)


def test_lmuformer_becomes_few_stages_and_stores_states_directly() -> None:
    lowered = lower(graph_of(lmuformer_jv))
    copies = [
        stage
        for stage in lowered.program.stages
        if stage.reduction is None and type(stage.value).__name__ == "Load"
    ]
    # What is left to copy are the rings: the past and the newest column of each of the five.
    assert len(copies) <= 3 * 5
    assert len(lowered.program.stages) <= 30


def test_lowering_is_deterministic_and_its_plan_reads_back() -> None:
    graph = graph_of(lmuformer_jv)
    first, second = lower(graph), lower(graph)
    assert plan.dump(first.program) == plan.dump(second.program)
    assert first.weights == second.weights
    assert plan.load(plan.dump(first.program)) == first.program


def test_scratch_of_disjoint_lifetimes_is_shared() -> None:
    program = lower(graph_of(lmuformer_jv)).program
    apart = sum(buffer.size * np.dtype(buffer.dtype).itemsize for buffer in program.role("scratch"))
    assert program.scratch_bytes < apart


def test_gaps_name_every_operator_and_where_it_comes_from() -> None:
    from small_models import UsesPlaces

    found = gaps(graph_of(UsesPlaces))
    # torch writes two poolings for each: one for the values, one to count the places from.
    assert [gap.operator for gap in found] == ["MaxPool"] * 4
    assert {gap.origin for gap in found} == {"first", "second"}
