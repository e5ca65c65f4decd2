"""A circuit behind its port as a backend of the runtime: the same numbers as any other, states and all."""

import json
import threading

import numpy as np
import onnx
import onnx.parser
import pytest

import millstream_runtime
from millstream_runtime.backends import verilator
from millstream_runtime.backends.circuit.ports import Ports, Tensor, read_ports, words
from millstream_runtime.backends.circuit.step import CircuitStep, host_part
from millstream_runtime.backends.onnxruntime import OnnxruntimeStep
from millstream_runtime.errors import BackendRefused, PlanInvalid
from millstream_runtime.spec import Machine, Memory, ModelSpec, StateSpec, TargetSpec, TensorSpec, Tolerance


@pytest.fixture(scope="module")
def packed(fpga, bundle, tmp_path_factory):
    """The gated recurrence with the engine in it."""
    path = tmp_path_factory.mktemp("packed") / "packed.mill"
    done = fpga("pack", bundle, "--lanes", 4, "-o", path)
    assert done.exit_code == 0, done.stderr
    return path


@pytest.mark.slow
def test_streams_pools_and_snapshots_are_those_of_any_backend(packed):
    circuit, graph = (millstream_runtime.load(packed, backend=name) for name in ("verilator", "onnxruntime"))
    x = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32) * 2
    one, other = circuit.stream(), graph.stream()
    for frame in x[:30]:
        assert np.array_equal(one.step(frame), other.step(frame))
    blob = one.save()
    first = [one.step(frame).copy() for frame in x[30:]]
    one.load(blob)
    assert np.array_equal([one.step(frame).copy() for frame in x[30:]], first)
    pools = circuit.streams(3), graph.streams(3)
    for tick in range(20):
        mask = np.array([True, tick % 2 == 0, tick % 3 == 0])
        a, b = (pool.step(x[3 * tick : 3 * tick + 3], active=mask) for pool in pools)
        assert np.array_equal(a[mask], b[mask])


@pytest.mark.slow
def test_threads_take_turns_at_one_circuit(packed):
    circuit = millstream_runtime.load(packed, backend="verilator")
    x = np.random.default_rng(1).standard_normal((40, 5)).astype(np.float32)
    alone = circuit.stream()
    wanted = [alone.step(frame).copy() for frame in x]
    found: dict[int, list[np.ndarray]] = {}

    def work(number: int) -> None:
        stream = circuit.stream()
        found[number] = [stream.step(frame).copy() for frame in x]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(results, wanted) for results in found.values())


SPEC = ModelSpec(
    "m",
    (TensorSpec("x", (2,), "float32"),),
    (TensorSpec("mean", (2,), "float32"),),
    (StateSpec("s", "s_next", (2,), "float32", 0.0), StateSpec("n", "n_next", (), "float64", 0.0)),
)
PORTS = {"inputs": [["x", 2, 8], ["s", 2, 4]], "outputs": [["sum", 2, 4], ["s_next", 2, 4]]}


class Adder:
    """A circuit by hand: s_next = sum = x + s, whose binary points lie four bits apart."""

    def exchange(self, frame: np.ndarray) -> np.ndarray:
        total = (frame[:2] >> 4) + frame[2:]
        return np.concatenate([total, total]).astype(np.int16)


def _around() -> OnnxruntimeStep:
    """mean = sum / n_next, n_next = n + 1, counted in float64 beside the circuit."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
    around (float[1, 2] sum, double[1] n) => (float[1, 2] mean, double[1] n_next) {
      one = Constant <value = double {1.0}> ()
      n_next = Add (n, one)
      count = Cast <to = 1> (n_next)
      mean = Div (sum, count)
    }"""
    found = host_part(onnx.parser.parse_model(text).SerializeToString())
    assert found is not None
    return found


def test_the_host_computes_what_the_circuit_leaves():
    ports = read_ports(json.dumps(PORTS).encode(), SPEC)
    step = CircuitStep(SPEC, ports, Adder(), _around())
    x = np.array([[1.5, -2], [0.25, 100]], np.float32)
    states = [np.array([[1, 2], [3, 4]], np.float32), np.array([0.0, 4.0])]
    nexts = [np.full((2, 2), np.nan, np.float32), np.full(2, np.nan)]
    mean = np.full((2, 2), np.nan, np.float32)
    step.bind([x], states, [mean], nexts)()
    assert np.array_equal(nexts[0], x + states[0])
    assert np.array_equal(nexts[1], states[1] + 1)
    assert np.array_equal(mean, (x + states[0]) / np.array([[1.0], [5.0]], np.float32))


@pytest.mark.parametrize(
    ("real", "fraction", "word"),
    [(0.5, 0, 0), (1.5, 0, 2), (-0.5, 0, 0), (-2.5, 0, -2), (1e9, 3, 32767), (-1e9, 3, -32768), (3, -1, 2)],
)
def test_a_float_becomes_a_word_as_quantize_linear_says(real, fraction, word):
    """Halves go to even, and what is too large saturates."""
    value = np.array([real], np.float32)
    graph = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 21]>
        q (float[1] x) => (int16[1] y) <float scale = {{{2.0**-fraction}}}, int16 zero = {{0}}> {{
          y = QuantizeLinear (x, scale, zero)
        }}"""
    )
    step = host_part(graph.SerializeToString())
    assert step is not None
    assert step.session.run(None, {"x": value})[0] == words(value, fraction) == word


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"inputs": [["y", 2, 8]]}, "does not have"),
        ({"inputs": [["x", 3, 8]]}, "not that of the model"),
        ({"outputs": [["n_next", 1, 8]]}, "not that of the model"),
        ({"inputs": [["x", 2, 400]]}, "makes no sense"),
        ({"inputs": []}, "without inputs"),
        ({"inputs": [["x", 2]]}, "cannot be read"),
        ({"inputs": 5}, "cannot be read"),
    ],
)
def test_ports_that_do_not_fit_the_model_are_refused(change, why):
    with pytest.raises(PlanInvalid, match=why):
        read_ports(json.dumps({**PORTS, **change}).encode(), SPEC)


def test_ports_count_their_words():
    ports = Ports((Tensor("x", 2, 8), Tensor("s", 3, 4)), (Tensor("y", 4, 0),))
    assert (ports.words_in, ports.words_out) == (5, 4)


def test_a_simulator_that_ends_or_does_not_start_is_told():
    target = TargetSpec("v", "verilator", (), Tolerance(0, 0, ""), Memory(0, 0, 0), Machine())
    files = {"ports.json": json.dumps({"inputs": [["x", 2, 8]], "outputs": [["mean", 2, 4]]}).encode()}
    short = verilator.open({**files, "simulator": b"#!/bin/sh\nexit 3\n"}, SPEC, target)
    arrays = [np.zeros((1, 2), np.float32) for _ in range(4)]
    with pytest.raises(BackendRefused, match="has ended"):
        short.bind([arrays[0]], [arrays[1], np.zeros(1)], [arrays[2]], [arrays[3], np.zeros(1)])()
    with pytest.raises(BackendRefused, match="does not start"):
        verilator.open({**files, "simulator": b"no program"}, SPEC, target)
