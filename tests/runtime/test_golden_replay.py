"""The golden replay passes what is right and shows what is wrong, by name."""

import dataclasses

import numpy as np
import pytest
from runtime_builders import EXACT, centred_sum, contents, counter, load_example, running_sum, write_bundle

from millstream_runtime import errors, golden, read, safetensors
from millstream_runtime.core import Core
from millstream_runtime.replay import compare, poison, replay
from millstream_runtime.spec import Tolerance

EXAMPLES = [running_sum(), counter(), centred_sum(2), running_sum(batch=3)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.spec.name}-{e.spec.batch}")
def test_the_bundles_own_sequence_passes(tmp_path, example):
    path = write_bundle(tmp_path, example)
    bundle = read(path)
    sequence = golden.load(bundle.members["golden.safetensors"], example.spec)
    result = replay(load_example(tmp_path, example).core, sequence, EXACT)
    assert result.passed
    assert result.ticks == 7 + example.spec.look_ahead
    names = [t.name for t in example.spec.outputs] + [s.name for s in example.spec.states]
    assert [d.name for d in result.differences] == names


def wrapped(core: Core, spoil) -> Core:
    """The core with a step that calls `spoil(outputs, next_states)` after each run."""

    class Spoiled:
        def bind(self, inputs, states, outputs, next_states):
            run = core.step.bind(inputs, states, outputs, next_states)

            def call() -> None:
                run()
                spoil(outputs, next_states)

            return call

    return dataclasses.replace(core, step=Spoiled())


def failed(folder, spoil, tolerance: Tolerance = EXACT) -> list[str]:
    example = counter()
    core = wrapped(load_example(folder, example).core, spoil)
    result = replay(core, contents(example).golden, tolerance)
    return [d.name for d in result.differences if not d.within]


def test_what_is_wrong_is_named(tmp_path):
    assert failed(tmp_path, lambda outputs, states: None) == []
    assert failed(tmp_path, lambda outputs, states: outputs[0].__iadd__(0.25)) == ["y"]
    assert failed(tmp_path, lambda outputs, states: np.logical_not(outputs[1], out=outputs[1])) == ["even"]
    assert "n" in failed(tmp_path, lambda outputs, states: states[0].__iadd__(2))
    assert "h" in failed(tmp_path, lambda outputs, states: poison(states[1]))


def test_buffers_are_poisoned_before_each_tick(tmp_path):
    """A step that writes nothing fails everywhere, though its buffers held the right values before."""

    class Idle:
        def bind(self, inputs, states, outputs, next_states):
            return lambda: None

    example = counter()
    core = dataclasses.replace(load_example(tmp_path, example).core, step=Idle())
    result = replay(core, contents(example).golden, Tolerance(10.0, 10.0, "wide"))
    assert [d.name for d in result.differences if not d.within] == ["y", "even", "n", "h"]


def test_the_tolerance_is_relative_to_the_tensors_largest_value():
    want = np.array([[100.0, 0.0]], np.float32)
    got = want + np.float32(0.5)
    assert compare("y", got, want, Tolerance(0.006, 0.0, "")).within
    assert not compare("y", got, want, Tolerance(0.004, 0.0, "")).within
    assert compare("y", got, want, Tolerance(0.0, 0.6, "")).within


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("got", "want", "within"),
    [
        ([NAN], [NAN], True),
        ([INF], [INF], True),
        ([NAN, 1], [NAN, 1], True),
        ([], [], True),
        ([NAN], [1], False),
        ([1], [NAN], False),
        ([INF], [-INF], False),
        ([3e38], [INF], False),
    ],
)
def test_not_finite_values(got, want, within):
    got, want = np.array(got, np.float32), np.array(want, np.float32)
    assert compare("y", got, want, Tolerance(1.0, 1.0, "wide")).within is within


def test_integers_have_no_tolerance():
    wide = Tolerance(10.0, 10.0, "")
    want = np.array([2**53, -5], np.int64)
    assert compare("n", want, want, wide).within
    next_one = want + np.array([1, 0])  # the same number as float64
    assert not compare("n", next_one, want, wide).within


def test_poison():
    for dtype, value in (("float32", np.nan), ("int8", 127), ("uint64", 2**64 - 1), ("bool", True)):
        array = np.zeros(2, dtype)
        poison(array)
        np.testing.assert_array_equal(array, np.full(2, value, dtype))


def test_malformed_golden_members():
    spec, good = centred_sum(2).spec, contents(centred_sum(2)).golden
    arrays, _ = safetensors.load(golden.dump(good, spec))
    for bad in (
        {},
        {k: v for k, v in arrays.items() if k != "state.window"},
        arrays | {"more": np.zeros(1)},
        arrays | {"input.x": arrays["input.x"].astype(np.float64)},
        arrays | {"input.x": arrays["input.x"][:, :1]},
        {k: v if k.startswith("state") else v[:2] for k, v in arrays.items()},
    ):
        with pytest.raises(errors.TensorsInvalid):
            golden.load(safetensors.dump(bad), spec)


def test_a_state_in_float16_may_be_the_neighbour_of_what_it_was_rounded_to():
    want = np.array([[1.5, 0.25]], np.float16)
    for by, relative, within in ((1, 0.0, True), (2, 0.0, False), (3, 2.0**-9, True), (4, 2.0**-9, False)):
        got = want + np.float16(by * 2.0**-10)
        assert compare("s", got, want, Tolerance(relative, 0.0, ""), rounded=True).within is within
    assert not compare("s", want + np.float16(2.0**-10), want, Tolerance(0.0, 0.0, "")).within


def test_integers_that_a_state_was_rounded_to_may_differ_by_one_and_by_the_tolerance():
    want = np.array([[100, 0]], np.int8)
    for by, relative, within in ((1, 0.0, True), (2, 0.0, False), (2, 0.02, True), (3, 0.02, False)):
        got = want + np.int8(by)
        assert compare("s", got, want, Tolerance(relative, 0.0, ""), rounded=True).within is within
        assert not compare("s", got, want, Tolerance(relative, 0.0, "")).within
