"""Rewrites of the step graph: equal under the reference, less to do, refusals with their reason."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from fold_models import Adapter, make, noise
from recurrent_models import BoundedGates, ConstantQuery
from reference_outputs import outputs
from small_models import stepped
from torch import Tensor, nn

from millstream.graph import StatePair, StepGraph, build, initializers
from millstream.protocol import streamable
from millstream.reparameterize import BOUND, Report
from millstream.reparameterize.graph import rewritten_graph
from millstream.trace import trace
from millstream_models.lmuformer import LMUFormer, LMUFormerConfig


def _traced(module: nn.Module, x: Tensor) -> tuple[StepGraph, dict[str, np.ndarray]]:
    source = streamable(module, x[:1])
    return trace(source, x[:1]).graph, {name: value[0].numpy() for name, value in source.initial.items()}


def _outputs(
    graph: StepGraph, initial: Mapping[str, np.ndarray], frames: np.ndarray, ahead: int
) -> np.ndarray:
    """Outputs (T, ...) under the reference; a model with look-ahead is drained."""
    drained = np.concatenate((frames, np.zeros((ahead, *frames.shape[1:]), frames.dtype)))
    return outputs(graph, initial, drained, np.arange(len(drained)) < len(frames))[ahead:]


def _rewritten(module: nn.Module, x: Tensor, ahead: int = 0) -> tuple[StepGraph, StepGraph, Report]:
    """The graph before and after; they are equal over x and over odd cuts of it."""
    graph, initial = _traced(module, x)
    done = rewritten_graph(graph, x.numpy(), initial)
    rewritten, report = done.graph, done.report
    for length in {1, 2, 7, len(x)}:
        frames = x[:length].numpy()
        want, got = (_outputs(*step, frames, ahead) for step in ((graph, initial), (rewritten, done.initial)))
        assert np.abs(got - want).max() < BOUND * np.abs(want).max()
    assert report.error < BOUND
    assert report.after.macs <= report.before.macs
    return graph, rewritten, report


def test_a_constant_query_needs_one_vector_for_each_head() -> None:
    _, graph, report = _rewritten(make(ConstantQuery), noise(23, 16))
    (applied,) = report.applied
    assert applied.rewrite == "linear region"
    assert "key: Gemm" in applied.where
    # Keys of 16 by 16 and the query's 16 products are now 4 heads of 16.
    assert report.before.macs - report.after.macs >= 16 * 16 + 16 - 4 * 16
    assert (4, 16) in [array.shape for array in initializers(graph.model).values()]


_SCALED = """
<ir_version: 10, opset_import: ["": 21]>
step (float[B, 3] input, float[B, 3] sum) => (float[B, 3] output, float[B, 3] next)
<float[3, 3] w = {1, 2, 3, 0, 1, 0, 2, 0, 1}, float[3] scale = {1, 2, 3}, float[3] shift = {SHIFT}>
{
    product = MatMul(input, w)
    scaled = Mul(product, scale)
    shifted = Add(scaled, shift)
    output = Tanh(shifted)
    next = Add(sum, input)
}
"""


@pytest.mark.parametrize(("shift", "operands"), [("0, 0, 0", 2), ("0, 1, 0", 3)])
def test_a_region_without_a_constant_gets_none(shift: str, operands: int) -> None:
    text = _SCALED.replace("SHIFT", shift)
    graph = build(onnx.parser.parse_model(text), [StatePair("sum", "next")])
    initial, x = {"sum": np.zeros(3, np.float32)}, noise(7, 3).numpy()
    done = rewritten_graph(graph, x, initial)
    rewritten, report = done.graph, done.report
    (gemm,) = [node for node in rewritten.model.graph.node if node.op_type == "Gemm"]
    assert len(gemm.input) == operands
    assert report.applied[-1].rewrite == "linear region"
    want, got = (_outputs(each, initial, x, 0) for each in (graph, rewritten))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_gate_bounds_are_constants_and_a_shut_gate_is_dead() -> None:
    module = make(BoundedGates)
    before, after, report = _rewritten(module, noise(21, 8))
    operators = [node.op_type for node in after.model.graph.node]
    assert not {"Softmax", "CumSum"} & set(operators)
    assert operators.count("Sigmoid") == 2
    # The gate of the last layer is shut: its projection and the gate's arithmetic are gone.
    assert report.before.macs - report.after.macs >= 8 * 8
    assert len(after.model.graph.node) < len(before.model.graph.node)


_TWICE = """
<ir_version: 10, opset_import: ["": 21]>
step (float[B, 3] input, float[B, 3] sum) => (float[B, 3] output, float[B, 3] next)
<float[3, 3] w = {1, 2, 3, 0, 1, 0, 2, 0, 1}, float[3, 3] same = {1, 2, 3, 0, 1, 0, 2, 0, 1},
 float[1] one = {1}>
{
    left = MatMul(input, w)
    right = MatMul(input, same)
    unread = MatMul(right, w)
    a = Tanh(left)
    b = Tanh(right)
    c = Mul(a, one)
    output = Add(c, b)
    next = Add(sum, b)
}
"""


def test_what_is_computed_twice_is_computed_once_and_what_nothing_reads_goes() -> None:
    graph = build(onnx.parser.parse_model(_TWICE), [StatePair("sum", "next")])
    initial, x = {"sum": np.zeros(3, np.float32)}, noise(7, 3).numpy()
    done = rewritten_graph(graph, x, initial)
    rewritten, report = done.graph, done.report
    want, got = (_outputs(each, initial, x, 0) for each in (graph, rewritten))
    np.testing.assert_array_equal(got, want)
    assert sorted(node.op_type for node in rewritten.model.graph.node) == ["Add", "Add", "MatMul", "Tanh"]
    assert report.applied[-1].rewrite == "duplicates"
    assert report.after.parameters == 9


def test_norms_before_rings_fold_with_exact_borders_and_look_ahead() -> None:
    module = make(LMUFormer, LMUFormerConfig(inputs=5, classes=3, width=8, order=6, theta=8.0)).train()
    for _ in range(5):
        module(noise(4, 13, 5) * 2 + 1)
    _, graph, report = _rewritten(module.eval(), noise(19, 5), ahead=5)
    rings = [each for each in report.applied if each.rewrite == "norm before a ring"]
    assert len(rings) == 3
    assert [node.op_type for node in graph.model.graph.node].count("BatchNormalization") <= 1
    (left,) = (each for each in report.left_alone if each.rewrite == "norm before a ring")
    assert "stem.layers.3.norm" in left.where


class _AdaptedStep(nn.Module):
    """A linear adapter before a layer, inside a step, where torch.fx cannot go; both have biases."""

    def __init__(self) -> None:
        super().__init__()
        self.adapter, self.inner = Adapter(16), nn.Linear(16, 16)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"sum": torch.zeros(batch, 16)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        total = 0.5 * state["sum"] + torch.tanh(self.inner(self.adapter(x)))
        return total, {"sum": total}

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)


def test_an_adapter_inside_a_step_merges_into_the_layer_after_it() -> None:
    _, graph, report = _rewritten(make(_AdaptedStep), noise(9, 16))
    assert [node.op_type for node in graph.model.graph.node].count("Gemm") == 1
    assert report.before.macs - report.after.macs >= 2 * 16 * 4


class _Unbounded(nn.Module):
    """Zero times a value without bound: must stay, as infinity would become NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.gain = nn.Linear(4, 4), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * torch.exp(self.inner(x))


def test_zero_times_what_has_no_bound_stays() -> None:
    graph, initial = _traced(make(_Unbounded), noise(5, 4))
    report = rewritten_graph(graph, noise(5, 4).numpy(), initial).report
    assert "has no bound" in report.left_alone[0].why
    assert not report.applied
