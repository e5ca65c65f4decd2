"""The table of targets, and a step graph through each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper as helper
import pytest

from millstream import targets
from millstream.errors import ToolMissing, UnknownTarget
from millstream.graph import IR_VERSION, OPSET, StatePair, StepGraph, build
from millstream.targets import tvm as tvm_half
from millstream.targets.tvm import levels
from millstream_runtime.machine import here
from millstream_runtime.spec import Machine, ModelSpec, StateSpec, TargetSpec, TensorSpec

WIDTH = 20


def _graph(*nodes: onnx.NodeProto) -> StepGraph:
    """x and state s to y and next state t."""

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["B", WIDTH])

    weight = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    graph = helper.make_graph(
        list(nodes),
        "step",
        [value("x"), value("s")],
        [value("y"), value("t")],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return build(model, [StatePair("s", "t")])


@pytest.fixture(scope="module")
def graph() -> StepGraph:
    return _graph(
        helper.make_node("MatMul", ["x", "w"], ["u"]),
        helper.make_node("Add", ["u", "s"], ["t"]),
        helper.make_node("Tanh", ["t"], ["y"]),
    )


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_step_runs_on_every_target(graph: StepGraph, name: str) -> None:
    target = targets.target(name)
    half = targets.compile_half(target)
    assert half.gaps(graph, target) == []
    spec = ModelSpec(
        "test",
        (TensorSpec("x", (WIDTH,), "float32"),),
        (TensorSpec("y", (WIDTH,), "float32"),),
        (StateSpec("s", "t", (WIDTH,), "float32", 0.0),),
    )
    contract = targets.Contract(spec, (np.zeros(WIDTH, np.float32),))
    made = half.compile(graph, target, contract)
    assert made == half.compile(graph, target, contract)
    assert made.memory.state == WIDTH * 4
    files = {**made.files, **({"step.onnx": graph.to_bytes()} if target.reads_step else {})}
    compiled = TargetSpec(name, target.backend, (), made.tolerance, made.memory, made.machine)
    rng = np.random.default_rng(1)
    x, s = rng.standard_normal((2, 2, WIDTH)).astype(np.float32)
    y, t = np.full((2, 2, WIDTH), np.nan, np.float32)
    targets.open_step(files, spec, compiled).bind([x], [s], [y], [t])()
    want = x.astype(np.float64) @ onnx.numpy_helper.to_array(graph.model.graph.initializer[0]) + s
    np.testing.assert_allclose(t, want, rtol=0, atol=1e-5 * np.abs(want).max())
    np.testing.assert_allclose(y, np.tanh(want), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["cpu", "numba", "c", "relax"])
def test_every_unsupported_operator_is_listed(name: str) -> None:
    nodes = (
        helper.make_node("Identity", ["s"], ["t"]),
        helper.make_node("RandomNormalLike", ["x"], ["i"]),
        helper.make_node("Bernoulli", ["x"], ["r"], name="noise"),
        helper.make_node("Add", ["r", "i"], ["y"]),
    )
    target = targets.target(name)
    gaps = targets.compile_half(target).gaps(_graph(*nodes), target)
    assert {gap.operator for gap in gaps} == {"Bernoulli", "RandomNormalLike"}


def test_onnxruntime_says_itself_what_it_refuses() -> None:
    nodes = (
        helper.make_node("Identity", ["s"], ["t"]),
        helper.make_node("Cast", ["x"], ["f"], to=onnx.TensorProto.BFLOAT16),
        helper.make_node("Softsign", ["f"], ["g"]),
        helper.make_node("Sqrt", ["x"], ["y"]),
    )
    target = targets.target("onnxruntime")
    (gap,) = targets.compile_half(target).gaps(_graph(*nodes), target)
    assert "Softsign" in gap.why


def test_an_unknown_target_names_the_known() -> None:
    with pytest.raises(UnknownTarget, match="cpu, numba, c, relax, onnxruntime"):
        targets.target("toaster")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, graph: StepGraph) -> None:
    cpu = targets.target("cpu")
    assert targets.missing(cpu) == ()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert targets.missing(cpu) == ("apt install gcc libc6-dev",)
    with pytest.raises(ToolMissing):
        tvm_half.compile(graph, cpu, targets.Contract(ModelSpec("test", (), (), ()), ()))


def test_the_level_of_a_cpu_follows_its_features() -> None:
    v3 = next(level for level in levels.X86_64 if level.mcpu == "x86-64-v3" and not level.attributes)
    assert levels.best(Machine("linux", "x86_64", v3.features)) == v3
    assert levels.best(Machine("linux", "x86_64", (*v3.features, "avx_vnni"))).attributes == ("+avxvnni",)
    assert levels.best(Machine("linux", "x86_64", v3.features[:-1])).mcpu == "x86-64-v2"
    assert levels.best(Machine("linux", "riscv64", v3.features)).features == ()
    assert set(levels.best(here()).features) <= set(here().features)
