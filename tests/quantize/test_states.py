"""States in fewer bytes: what is measured is what is written, and the measurement refuses what drifts."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import pytest
import torch
from backend_programs import OPENERS, Case, run
from quantized_graphs import calibration, driven_graph, recurrent_graph

from millstream import lower
from millstream.datasets import japanese_vowels
from millstream.float16 import RELATIVE, loosened
from millstream.graph import BATCH, OPSET, StatePair, StepGraph, build
from millstream.loading import load
from millstream.protocol import streamable
from millstream.quantize import FORMATS, quantize
from millstream.quantize.calibration import Calibration, spread, stream
from millstream.quantize.states.choosing import choose
from millstream.quantize.states.drift import drifts
from millstream.quantize.states.scaled import Scaled, block
from millstream.quantize.states.storage import Storage, kept
from millstream.quantize.states.storages import FLOAT16, INT8, INT16, STORAGES, smaller
from millstream.quantize.states.writing import narrowed, narrowed_initial, narrowed_spec, widened
from millstream.quantize.tolerance import largest_effect, rounds
from millstream.reference.interpreter import prepare
from millstream.trace import trace
from millstream_runtime.backends.onnxruntime import session
from millstream_runtime.spec import ModelSpec, StateSpec, Tolerance

TOLERANCE = Tolerance(1e-5, 1e-7, "")


def _averages(decays: dict[str, float], size: int = 48, batch: int | str = BATCH) -> StepGraph:
    """state' = decay state + (1 - decay) input for each state, and their sum as output."""
    nodes, held = [], []
    for name, decay in decays.items():
        for what, number in (("old", decay), ("new", 1 - decay)):
            held.append(onnx.numpy_helper.from_array(np.array(number, np.float32), f"{name}.{what}"))
        nodes.append(oh.make_node("Mul", [name, f"{name}.old"], [f"{name}.kept"]))
        nodes.append(oh.make_node("Mul", ["input", f"{name}.new"], [f"{name}.added"]))
        nodes.append(oh.make_node("Add", [f"{name}.kept", f"{name}.added"], [f"{name}.next"]))
    nodes.append(oh.make_node("Sum", [f"{name}.next" for name in decays], ["output"]))
    after = [f"{name}.next" for name in decays]

    def values(names: list[str]) -> list[onnx.ValueInfoProto]:
        return [oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, size]) for name in names]

    graph = oh.make_graph(nodes, "step", values(["input", *decays]), values(["output", *after]), held)
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", OPSET)])
    return build(model, [StatePair(name, f"{name}.next") for name in decays])


def _frames(graph: StepGraph, count: int = 100, mean: float = 1.0) -> Calibration:
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((count, *(extent or 1 for extent in graph.inputs[0].shape[1:]))) + mean
    initial = [np.zeros([e or 1 for e in t.shape[1:]], t.dtype) for t in graph.state_tensors]
    return Calibration([frames.astype(np.float32)], initial)


@pytest.mark.parametrize("storage", [INT8, INT16], ids=lambda storage: storage.dtype)
def test_a_kept_state_is_off_by_half_a_step_of_its_block(storage: Scaled) -> None:
    state = np.random.default_rng(0).standard_normal((3, 6, 31)).astype(np.float32)
    state[:, 0] *= 1e4
    state[:, 1] = 0
    blocks = state.reshape(3, -1, block(6 * 31))
    step = np.abs(blocks).max(2, keepdims=True) / storage.most
    gap = np.abs(kept(storage, state).reshape(blocks.shape) - blocks)
    assert (gap <= step * 0.501).all()
    assert gap.any()


def test_a_half_is_off_by_half_a_step_of_its_own() -> None:
    state = np.random.default_rng(0).standard_normal((3, 500)).astype(np.float32) * np.float32(1e-3)
    state[0] *= 1e-4
    state[1] *= 1e7
    found = kept(FLOAT16, state)
    gap, step = np.abs(found - state), np.maximum(np.abs(state) * 2.0**-10, 2.0**-24)
    assert (gap <= step / 2).all()
    assert (gap[0] > step[0] / 4).any()
    assert np.isposinf(kept(FLOAT16, np.full((1, 1), 65520, np.float32)))


def test_a_state_that_is_not_finite_shows() -> None:
    state = np.ones((1, 8), np.float32)
    state[0, 3] = np.nan
    assert np.isnan(kept(INT8, state)).all()
    np.testing.assert_array_equal(kept(FLOAT16, state), state)


def test_the_smallest_is_tried_first() -> None:
    """A scale for few values is more than it saves."""
    assert smaller(STORAGES, 48) == [INT8, FLOAT16, INT16]
    assert smaller(STORAGES, 4) == [FLOAT16, INT8, INT16]
    assert smaller(STORAGES, 1) == [FLOAT16]
    assert smaller([INT16], 48) == [INT16]
    assert smaller([INT16], 1) == []


@pytest.mark.parametrize("storage", STORAGES, ids=lambda storage: storage.dtype)
def test_what_is_written_is_what_is_measured(storage: Storage) -> None:
    graph = recurrent_graph()
    seen = calibration(graph)
    initial = [np.random.default_rng(2).standard_normal(53).astype(np.float32)]
    mix = {"state": storage}
    written = narrowed(graph, mix)
    inside = Calibration(seen.sequences, narrowed_initial(graph, initial, mix))
    got = list(stream(written, inside))
    state, step = kept(storage, initial[0][None]), prepare(graph.model)
    for frame, values in zip(seen.sequences[0], got, strict=True):
        want = step({"input": frame[None], "state": state})
        state = kept(storage, want["state.next"])
        np.testing.assert_array_equal(values["output"], want["output"])
        np.testing.assert_array_equal(widened(values, graph.states[0], storage), state)


@pytest.mark.parametrize("backend", [*OPENERS, "onnxruntime"])
@pytest.mark.parametrize("storage", STORAGES, ids=lambda storage: storage.dtype)
def test_the_same_numbers_everywhere(storage: Storage, backend: str) -> None:
    """The arithmetic of this step is exact to the last bit everywhere, so what is kept must be equal."""
    plain = _averages({"state": 0.5}, size=96)
    graph = narrowed(plain, {"state": storage})
    rng = np.random.default_rng(4)
    x = rng.standard_normal((4, 96)).astype(np.float32)
    x[1] *= 1e30
    x[2] = 0
    state = rng.standard_normal((4, 96)).astype(np.float32)
    state[1:] *= np.float32(1e-7)
    states = storage.encode(state)
    given = dict(zip(("input", *(pair.name for pair in graph.states)), (x, *states), strict=True))
    want = prepare(graph.model)(given)
    if backend == "onnxruntime":
        found = session(graph.model.SerializeToString()).run(list(want), given)
        got = dict(zip(want, map(np.asarray, found), strict=True))
    else:
        lowered = lower.lower(graph)
        flat = tuple(part.reshape(4, -1) for part in states)
        (output,), after = run(OPENERS[backend], Case(lowered.program, lowered.weights, (x,), flat))
        got = dict(zip(("output", *(pair.next_name for pair in graph.states)), (output, *after), strict=True))
    for name, array in want.items():
        np.testing.assert_array_equal(got[name].reshape(array.shape), array, err_msg=name)
    assert want["state.next"].dtype == storage.dtype


@pytest.mark.parametrize("name", ["w8a8", "w16"])
def test_a_quantized_step_with_narrow_states_opens(name: str) -> None:
    """The product that writes the state is quantized, and then the state."""
    graph = driven_graph()
    made = quantize(graph, FORMATS[name], calibration(graph)).graph
    small = narrowed(made, {"state": INT16})
    given = {
        "input": np.ones((2, 40), np.float32),
        "state": np.ones((2, 40), np.int16),
        "state.largest": np.ones((2, 1, 1), np.float32),
    }
    want = prepare(small.model)(given)["output"]
    (got,) = session(small.model.SerializeToString()).run(["output"], given)
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_the_slower_the_decay_the_finer_the_storage() -> None:
    graph = _averages({"fast": 0.5, "middle": 0.97, "slow": 0.997})
    chosen = choose(graph, _frames(graph), 0.005)
    assert chosen.mix == {"fast": INT8, "middle": FLOAT16, "slow": INT16}
    _, middle, slow = chosen.states
    assert "int8 moves middle.next" in middle.why
    assert "int8 moves slow.next" in slow.why
    assert "float16 moves slow.next" in slow.why
    assert chosen.drift.largest <= 0.005
    assert sum(state.bytes for state in chosen.states) == (48 + 4) + 2 * 48 + (2 * 48 + 4)


def test_what_is_beyond_float16_gets_integers() -> None:
    graph = _averages({"state": 0.9})
    seen = _frames(graph, mean=3.0)
    (frames,) = seen.sequences
    chosen = choose(graph, Calibration([frames * np.float32(1e5)], seen.initial), 0.001)
    assert chosen.mix == {"state": INT16}
    assert [c.storage for c in chosen.states[0].candidates if np.isinf(c.drift.lasting)] == [FLOAT16]


def test_int8_is_refused_for_a_trained_legendre_memory() -> None:
    source = streamable(load("lmuformer_jv").module, torch.zeros(1, 12))
    graph = trace(source, torch.zeros(1, 12)).graph
    initial = [value[0].numpy() for value in source.initial.values()]
    names = [{"memory_0": INT8}, {"memory_0": FLOAT16}, {"memory_0": INT16}, {"stem_ring_1": INT8}]
    seen = Calibration(spread(japanese_vowels.train().frames), initial)
    memory, half, wide, ring = drifts(graph, names, seen).drifts
    assert memory.lasting > 0.02
    assert memory.worst == "memory_0.next"
    assert wide.lasting < half.lasting < 0.002
    assert ring.lasting < 0.01


def test_a_sum_without_end_stays_in_float32() -> None:
    graph = _averages({"sum": 1.0, "mean": 0.5})
    nodes = [n for n in graph.model.graph.initializer if n.name == "sum.new"]
    nodes[0].CopyFrom(onnx.numpy_helper.from_array(np.array(1, np.float32), "sum.new"))
    chosen = choose(graph, _frames(graph), 0.05)
    told = {state.name: state.why for state in chosen.states}
    assert set(chosen.mix) == {"mean"}
    assert told["sum"] == "it goes on growing in float"


def test_a_state_that_starts_from_infinity_stays_in_float32() -> None:
    graph = _averages({"state": 0.5})
    seen = _frames(graph)
    chosen = choose(graph, Calibration(seen.sequences, [np.full(48, -np.inf, np.float32)]), 0.05)
    assert not chosen.mix


def test_what_fits_alone_may_not_fit_together() -> None:
    """States of int8, each within a bound that all of them pass together."""
    names = [f"s{number}" for number in range(2)]
    graph = _averages({name: 0.5 + 0.01 * number for number, name in enumerate(names)})
    seen = _frames(graph, mean=0.0)
    alone = drifts(graph, [{"s0": INT8}], seen).drifts[0]
    all_small = drifts(graph, [dict.fromkeys(names, INT8)], seen).drifts[0]
    assert alone.largest < all_small.largest
    bound = (alone.largest + all_small.largest) / 2
    tight = choose(graph, seen, bound)
    assert tight.drift.largest <= bound
    assert sorted(storage.dtype for storage in tight.mix.values()) == ["float16", "int8"]


def test_what_a_half_that_falls_otherwise_does_is_measured() -> None:
    """Half a step of float16 is 2^-11 of a value: what backends differ by decides it seldom, but it does."""
    plain = _averages({"state": 0.5})
    graph, seen = narrowed(plain, {"state": FLOAT16}), _frames(plain)
    spec = ModelSpec("averages", (), (), (StateSpec("state", "state.next", (48,), "float32", 0),))
    small = narrowed_spec(spec, {"state": FLOAT16})
    assert (small.states[0].dtype, small.states[0].rounded) == ("float16", True)
    assert (rounds(plain, spec), rounds(graph, small)) == (False, True)
    inside = Calibration(seen.sequences, narrowed_initial(plain, seen.initial, {"state": FLOAT16}))
    assert 2.0**-12 < largest_effect(graph, inside, 8) < 2.0**-9
    # It is the rounding that does it: no bound is looser for the dtype.
    assert loosened(TOLERANCE, graph, small) == TOLERANCE
    assert loosened(TOLERANCE, graph, spec).relative == RELATIVE


def test_a_fixed_batch_measures_the_same() -> None:
    decays = {"fast": 0.5, "slow": 0.99}
    free, fixed = _averages(decays), _averages(decays, batch=2)
    mixes = [{"fast": INT8}, {"slow": INT8}]
    seen = _frames(free)
    assert drifts(free, mixes, seen) == drifts(fixed, mixes, seen)
