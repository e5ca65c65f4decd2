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
from millstream.targets.emulation import machines
from millstream.targets.tvm import levels
from millstream_runtime.machine import here
from millstream_runtime.spec import Machine, ModelSpec, StateSpec, TargetSpec, TensorSpec

WIDTH = 20
SPEC = ModelSpec(
    "test",
    (TensorSpec("x", (WIDTH,), "float32"),),
    (TensorSpec("y", (WIDTH,), "float32"),),
    (StateSpec("s", "t", (WIDTH,), "float32", 0.0),),
)
INITIAL = (np.zeros(WIDTH, np.float32),)


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
    contract = targets.Contract(SPEC, INITIAL)
    made = half.compile(graph, target, contract)
    assert made == half.compile(graph, target, contract)
    assert made.memory.state == WIDTH * 4
    files = {**made.files, **({"step.onnx": graph.to_bytes()} if target.reads_step else {})}
    compiled = TargetSpec(name, target.backend, (), made.tolerance, made.memory, made.machine)
    rng = np.random.default_rng(1)
    x, s = rng.standard_normal((2, 2, WIDTH)).astype(np.float32)
    y, t = np.full((2, 2, WIDTH), np.nan, np.float32)
    targets.open_step(files, SPEC, compiled).bind([x], [s], [y], [t])()
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
    with pytest.raises(UnknownTarget, match=", ".join(targets.TARGETS)):
        targets.target("toaster")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, graph: StepGraph) -> None:
    cpu = targets.target("cpu")
    assert targets.missing(cpu) == ()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert targets.missing(cpu) == ("apt install gcc libc6-dev",)
    with pytest.raises(ToolMissing):
        tvm_half.compile(graph, cpu, targets.Contract(ModelSpec("test", (), (), ()), ()))


def test_the_level_of_a_cpu_follows_its_features() -> None:
    features = levels.LEVELS["x86-64-v3"].machine.features
    assert levels.best(Machine("linux", "x86_64", features)).mcpu == "x86-64-v3"
    assert levels.best(Machine("linux", "x86_64", (*features, "avx_vnni"))).attributes == ("+avxvnni",)
    assert levels.best(Machine("linux", "x86_64", features[:-1])).mcpu == "x86-64-v2"
    assert levels.best(Machine("linux", "aarch64", ("asimddp",))).attributes == ("+neon", "+dotprod")
    assert levels.best(Machine("linux", "aarch64")).attributes == ("+neon",)
    assert levels.best(Machine("linux", "mips", features)).machine == Machine("linux", "mips")
    assert set(levels.best(here()).machine.features) <= set(here().features)


def test_every_target_with_code_of_its_own_has_a_level_and_a_machine() -> None:
    compiled = {name: target.backend for name, target in targets.TARGETS.items() if name != "cpu"}
    assert set(levels.LEVELS) == {name for name, backend in compiled.items() if backend in ("tvm", "object")}
    assert set(machines.MACHINES) == {name for name, backend in compiled.items() if backend == "object"}


def test_what_proving_for_another_machine_lacks_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, graph: StepGraph
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    lines = {name: targets.missing(target) for name, target in targets.TARGETS.items()}
    assert lines["cortex-m7"] == ("apt install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm",)
    assert lines["wasm32"] == ("apt install clang lld nodejs",)
    assert lines["aarch64-linux"] == (
        "apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static",
    )
    target = targets.target("wasm32")
    with pytest.raises(ToolMissing, match="apt install clang lld nodejs"):
        targets.compile_half(target).compile(graph, target, targets.Contract(SPEC, INITIAL))
