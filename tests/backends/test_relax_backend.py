"""The Relax target: whole models from a step graph to a bound call, and files that do not fit."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from lowered_models import MODELS, graph_of
from relax_steps import TARGET, compiled, spec_of, target_of
from small_models import GatedRecurrence, frames, seeded
from torch import nn

import millstream
from millstream import prove, reference
from millstream.errors import ToolMissing
from millstream.fold import single_stream
from millstream.targets import Compiled, relax
from millstream_runtime import machine
from millstream_runtime.backends import relax as run_half
from millstream_runtime.core import Core
from millstream_runtime.errors import BackendMissing, BackendRefused, MachineMismatch, PlanInvalid
from millstream_runtime.registers import Registers
from millstream_runtime.replay import replay
from millstream_runtime.spec import Machine, TensorSpec


@functools.cache
def _compiled(make: type[nn.Module]) -> Compiled:
    return compiled(graph_of(make))


def _core(make: type[nn.Module]) -> Core:
    spec, made = spec_of(graph_of(make)), _compiled(make)
    initial = tuple(np.zeros(state.shape, state.dtype) for state in spec.states)
    return Core(spec, run_half.open(made.files, spec, target_of(made)), initial, "")


def _inputs(make: type[nn.Module], ticks: int) -> np.ndarray:
    """Frames (T, ...) for the first input of a model."""
    first = graph_of(make).inputs[0]
    shape = (ticks, *(n or 0 for n in first.shape[1:]))
    generator = np.random.default_rng(0)
    if first.dtype.kind == "i":
        return generator.integers(0, 17, shape).astype(first.dtype)
    return generator.standard_normal(shape).astype(first.dtype)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_model_agrees_with_the_reference_on_poisoned_buffers(make: type[nn.Module]) -> None:
    core, graph = _core(make), graph_of(make)
    reference_core = replace(core, step=reference.open(graph.model, core.spec))
    golden = prove.make_golden(reference_core, _inputs(make, 32), 0)
    found = replay(core, golden, _compiled(make).tolerance)
    assert found.passed, found.differences


def _tick(core: Core, inputs: np.ndarray, states: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs and next states of one step on a batch."""
    registers = Registers(core, len(inputs))
    registers.inputs[0][...] = inputs
    for state, value in zip(registers.states, states, strict=True):
        state[...] = value
    registers.tick()
    return [array.copy() for array in (*registers.outputs, *registers.states)]


def test_streams_of_a_batch_are_what_each_is_alone() -> None:
    """Rows of 5 and 37 floats: only the first begins on a cache line."""
    core = _core(GatedRecurrence)
    x = _inputs(GatedRecurrence, 4)
    hidden = np.random.default_rng(1).standard_normal((4, 37)).astype(np.float32)
    together = _tick(core, x, [hidden])
    for row in range(4):
        alone = _tick(core, x[row : row + 1], [hidden[row : row + 1]])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_array_equal(a[row : row + 1], b)


def test_two_threads_may_step_one_model() -> None:
    core = _core(GatedRecurrence)
    x = _inputs(GatedRecurrence, 2)
    bound = [Registers(core, 1) for _ in range(2)]
    for registers, frame in zip(bound, x, strict=True):
        registers.inputs[0][...] = frame

    def run(registers: Registers) -> None:
        for _ in range(500):
            registers.tick()

    threads = [threading.Thread(target=run, args=[registers]) for registers in bound]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for registers, frame in zip(bound, x, strict=True):
        alone = Registers(core, 1)
        alone.inputs[0][...] = frame
        run(alone)
        np.testing.assert_array_equal(registers.states[0], alone.states[0])


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_long_run_takes_no_more_memory() -> None:
    registers = Registers(_core(GatedRecurrence), 3)
    registers.inputs[0][...] = _inputs(GatedRecurrence, 3)
    for _ in range(500):
        registers.tick()
    before = _resident_bytes()
    for _ in range(20_000):
        registers.tick()
    # 60,000 steps of a stream: 20 bytes that each leaves behind would show.
    assert _resident_bytes() - before < 1 << 20


def test_the_same_graph_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    graph, made = graph_of(GatedRecurrence), _compiled(GatedRecurrence)
    (tmp_path / "step.onnx").write_bytes(graph.to_bytes())
    script = (
        "import sys, hashlib, json, onnx\n"
        "from millstream.graph import StepGraph\n"
        "from millstream.targets import relax, target\n"
        "made = relax.compile(StepGraph(onnx.load(sys.argv[1])), target('relax'), None)\n"
        "print(json.dumps({k: hashlib.sha256(v).hexdigest() for k, v in made.files.items()}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "step.onnx")], check=True, stdout=subprocess.PIPE
    )
    here = {name: hashlib.sha256(data).hexdigest() for name, data in made.files.items()}
    assert json.loads(done.stdout) == here


def test_memory_is_that_of_the_graph_and_of_one_call() -> None:
    memory = _compiled(GatedRecurrence).memory
    weights = onnx.numpy_helper.to_array
    graph = single_stream(graph_of(GatedRecurrence))
    assert memory.weights == sum(weights(item).nbytes for item in graph.graph.initializer)
    assert memory.state == 37 * 4
    assert 37 * 4 < memory.scratch < 4096


def test_a_fresh_interpreter_opens_the_bundle_without_the_toolchain(tmp_path: Path) -> None:
    example = frames(GatedRecurrence, 1, 16)
    module = seeded(GatedRecurrence)
    millstream.export(module, example, target="relax").save(tmp_path / "model.mill")
    np.save(tmp_path / "x.npy", example[0].numpy())
    script = (
        "import sys, numpy as np\n"
        "absent = ('torch', 'onnx', 'tvm', 'numba', 'onnxruntime', 'millstream')\n"
        "sys.modules.update(dict.fromkeys(absent[:2]))\n"
        "import millstream_runtime as ms\n"
        "assert 'tvm_ffi' not in sys.modules\n"
        "model = ms.load(sys.argv[1] + '/model.mill')\n"
        "assert model.backend == 'relax'\n"
        "y = [y.copy() for y in model.stream().push(np.load(sys.argv[1] + '/x.npy'))]\n"
        "assert not any(sys.modules.get(name) for name in absent)\n"
        "np.save(sys.argv[1] + '/y.npy', np.stack(y))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    want = module(example)[0].detach().numpy()
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), want, rtol=0, atol=2e-5)


def _open(files: dict[str, bytes], **changes: object) -> run_half.RelaxStep:
    spec, target = spec_of(graph_of(GatedRecurrence)), target_of(_compiled(GatedRecurrence))
    return run_half.open({**_compiled(GatedRecurrence).files, **files}, spec, replace(target, **changes))


def test_another_machine_is_refused() -> None:
    with pytest.raises(MachineMismatch, match="mips"):
        _open({}, machine=Machine("linux", "mips", ()))
    needed = _compiled(GatedRecurrence).machine
    assert set(needed.features) <= set(machine.here().features)
    with pytest.raises(MachineMismatch, match="avx9"):
        _open({}, machine=replace(needed, features=(*needed.features, "avx9")))


def test_another_release_of_tvm_is_refused() -> None:
    with pytest.raises(BackendRefused, match=r"compiled for TVM 0\.26"):
        _open({"tvm.json": b'{"tvm": "0.26"}'})


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"\xff"])
def test_a_malformed_release_is_refused(data: bytes) -> None:
    with pytest.raises(PlanInvalid):
        _open({"tvm.json": data})


def test_a_library_that_is_none_is_refused() -> None:
    for code in (b"", b"not a library", _compiled(GatedRecurrence).files["step.so"][:200]):
        with pytest.raises(BackendRefused):
            _open({"step.so": code})


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": (TensorSpec("input", (6,), "float32"),)},
        {"inputs": (TensorSpec("input", (5,), "float64"),)},
        {"outputs": (TensorSpec("output", (4,), "float32"),)},
        {"outputs": ()},
        {"states": ()},
    ],
)
def test_a_library_of_another_model_is_refused(change: dict) -> None:
    made = _compiled(GatedRecurrence)
    spec = replace(spec_of(graph_of(GatedRecurrence)), **change)
    with pytest.raises(BackendRefused):
        run_half.open(made.files, spec, target_of(made))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    graph = graph_of(GatedRecurrence)
    _compiled(GatedRecurrence)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match=r"millstream\[tvm\]"):
        _open({})
    for refuse in (relax.gaps, lambda *given: relax.compile(*given, None)):
        with pytest.raises(ToolMissing, match=r"millstream\[export\]"):
            refuse(graph, TARGET)
