"""A stream gives the numbers of whole-sequence arithmetic, however its frames arrive."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_builders import centred_sum, counter, frames, load_example, running_sum, two_inputs

from millstream_runtime import Model, errors, propagate, replace_by_zero
from millstream_runtime.spec import Framing

EXAMPLES = {"running": running_sum(), "counter": counter(), "centred": centred_sum(2), "five": centred_sum(5)}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Model]:
    return {name: load_example(tmp_path_factory.mktemp(name), example) for name, example in EXAMPLES.items()}


def as_tuple(result) -> tuple[np.ndarray, ...]:
    return result if isinstance(result, tuple) else (result,)


def check(example, x: np.ndarray, results: list) -> None:
    """The collected results are the whole-sequence outputs, bit for bit (sums of small integers)."""
    want = example.sequence(x)
    assert len(results) == len(x)
    for i, whole in enumerate(want):
        got = [as_tuple(result)[i] for result in results]
        np.testing.assert_array_equal(np.array(got, whole.dtype).reshape(whole.shape), whole)
        assert all(g.dtype == whole.dtype for g in got)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 11, 30])
def test_frame_by_frame(models, name, count):
    x = frames(EXAMPLES[name], count)
    with models[name].stream() as stream:
        results = []
        for frame in x:
            result = stream.step(frame)
            if result is not None:
                results.append(tuple(y.copy() for y in as_tuple(result)))
        assert len(results) == max(0, count - EXAMPLES[name].spec.look_ahead)
        check(EXAMPLES[name], x, results + stream.flush())
        assert stream.frames == count


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(list(EXAMPLES)), lengths=st.lists(st.integers(0, 9), max_size=8))
def test_every_chunking(models, name, lengths):
    x = frames(EXAMPLES[name], sum(lengths))
    stream = models[name].stream()
    results = []
    for end, length in zip(np.cumsum(lengths, dtype=int), lengths, strict=True):
        results += stream.push(x[end - length : end])
    check(EXAMPLES[name], x, results + stream.flush())


@pytest.fixture(scope="module", params=[(1, 1), (2, 2), (2, 5), (4, 4), (3, 4)], ids=str)
def framed(request, tmp_path_factory):
    hop, length = request.param
    example = running_sum(length, framing=Framing(hop, length))
    return hop, length, load_example(tmp_path_factory.mktemp("framed"), example).stream()


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 11), max_size=8))
def test_samples_are_framed_alike_in_every_chunking(framed, lengths):
    hop, length, stream = framed
    stream.reset()
    samples = np.arange(sum(lengths), dtype=np.float32)
    results = []
    for end, n in zip(np.cumsum(lengths, dtype=int), lengths, strict=True):
        results += stream.push(samples[end - n : end])
    windows = [samples[i : i + length] for i in range(0, len(samples) - length + 1, hop)]
    assert stream.frames == len(windows)
    assert stream.remainder == len(samples) - hop * len(windows)
    np.testing.assert_array_equal(
        np.array(results, np.float32).reshape(-1, length),
        np.cumsum(np.array(windows, np.float32).reshape(-1, length), axis=0),
    )


def test_several_inputs(tmp_path):
    stream = load_example(tmp_path, two_inputs()).stream()
    a, b = np.arange(12, dtype=np.float32).reshape(3, 2, 2), np.array([1, -2, 3], np.float32)
    np.testing.assert_array_equal(stream.step(a[1], b[1]), -2 * a[1])
    np.testing.assert_array_equal(stream.push(a, b), a * b[:, None, None])
    for given_ in ((a[0],), (a[0], b[0], b[0])):
        with pytest.raises(errors.WrongShape):
            stream.step(*given_)
    with pytest.raises(errors.WrongShape, match=r"\[3, 2\]"):
        stream.push(a, b[:2])


def test_the_result_is_the_streams_own_read_only_buffer(models):
    stream = models["running"].stream()
    one = np.ones(3, np.float32)
    first = stream.step(one)
    assert stream.step(one) is first
    np.testing.assert_array_equal(first, [2, 2, 2])
    with pytest.raises(ValueError, match="read-only"):
        first[...] = 0
    kept = stream.push(np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(kept, [[3, 3, 3], [4, 4, 4]])


def test_the_callers_frame_is_not_touched_and_may_be_strided(models):
    stream = models["running"].stream(nonfinite=replace_by_zero)
    frame = np.array([1, 9, np.nan, 9, 3, 9], np.float32)[::2]
    frame.flags.writeable = False
    np.testing.assert_array_equal(stream.step(frame), [1, 0, 3])
    np.testing.assert_array_equal(frame, [1, np.nan, 3])
    chunk = np.array([[1, np.nan, 3]], np.float32)
    np.testing.assert_array_equal(stream.push(chunk), [[2, 0, 6]])
    np.testing.assert_array_equal(chunk, [[1, np.nan, 3]])


BAD = {
    "list": ([1.0, 2.0, 3.0], errors.WrongDtype),
    "float64": (np.ones(3), errors.WrongDtype),
    "int": (np.ones(3, np.int32), errors.WrongDtype),
    "big-endian": (np.ones(3, ">f4"), errors.WrongDtype),
    "long": (np.ones(4, np.float32), errors.WrongShape),
    "batched": (np.ones((1, 3), np.float32), errors.WrongShape),
    "scalar": (np.float32(1), errors.WrongShape),
    "nan": (np.array([1, np.nan, 1], np.float32), errors.NonFiniteInput),
    "infinity": (np.array([1, 1, -np.inf], np.float32), errors.NonFiniteInput),
}


@pytest.mark.parametrize(("frame", "error"), BAD.values(), ids=BAD.keys())
def test_refused_frames_leave_the_stream_untouched(models, frame, error):
    stream = models["running"].stream()
    stream.push(np.ones((2, 3), np.float32))
    before = stream.save()
    with pytest.raises(error):
        stream.step(frame)
    chunk = [frame] if isinstance(frame, list) else np.stack([np.ones_like(frame), frame]).astype(frame.dtype)
    with pytest.raises(error):
        stream.push(chunk)
    assert stream.save() == before


def test_errors_say_what_is_wanted(models):
    stream = models["running"].stream()
    with pytest.raises(errors.WrongDtype, match=r"(?s)float64.*'x'.*float32 of shape \(3\).*astype"):
        stream.step(np.ones(3))
    with pytest.raises(errors.NonFiniteInput, match="element 1"):
        stream.step(np.array([0, np.inf, np.nan], np.float32))


def test_policies(models):
    frame = np.array([1, np.nan, np.inf], np.float32)
    np.testing.assert_array_equal(models["running"].stream(nonfinite=propagate).step(frame), frame)
    np.testing.assert_array_equal(models["running"].stream(nonfinite=replace_by_zero).step(frame), [1, 0, 0])
    kept = models["running"].stream(nonfinite=replace_by_zero).push(np.array([frame, frame]))
    np.testing.assert_array_equal(kept, [[1, 0, 0], [2, 0, 0]])


@pytest.mark.filterwarnings("error")
def test_large_values_are_finite(models):
    """A check by sums or squares would overflow."""
    frame = np.full(3, 3e38, np.float32)
    np.testing.assert_array_equal(models["running"].stream().step(frame), frame)


def test_after_the_end(models):
    stream = models["centred"].stream()
    x = frames(EXAMPLES["centred"], 3)
    stream.push(x)
    assert len(stream.flush()) == 2
    assert stream.flush() == []
    for call in (lambda: stream.step(x[0]), lambda: stream.push(x)):
        with pytest.raises(errors.StreamClosed, match="reset"):
            call()
    stream.reset()
    assert stream.frames == 0
    check(EXAMPLES["centred"], x, stream.push(x) + stream.flush())


def test_closed(models):
    with models["running"].stream() as stream:
        assert not stream.closed
    stream.close()
    assert stream.closed
    one = np.ones(3, np.float32)
    for call in (
        lambda: stream.step(one),
        lambda: stream.push(one[None]),
        stream.flush,
        stream.reset,
        stream.save,
        stream.fork,
        lambda: stream.load(b""),
    ):
        with pytest.raises(errors.StreamClosed, match="closed"):
            call()


def test_reset_begins_again_with_the_initial_values(models):
    stream, x = models["counter"].stream(), frames(EXAMPLES["counter"], 6)
    stream.push(x)
    stream.reset()
    check(EXAMPLES["counter"], x, stream.push(x))


def test_a_step_that_fails_leaves_the_state(models):
    stream = models["running"].stream()
    stream.push(np.ones((2, 3), np.float32))
    before, working = stream.save(), stream._registers._forth

    def failing() -> None:
        stream._registers.next_states[0][...] = 99
        raise RuntimeError("half-way")

    stream._registers._forth = failing
    with pytest.raises(RuntimeError, match="half-way"):
        stream.step(np.ones(3, np.float32))
    assert stream.save() == before
    stream._registers._forth = working
    np.testing.assert_array_equal(stream.step(np.ones(3, np.float32)), [3, 3, 3])


def test_memory_stays_constant(models):
    """200,000 frames one by one and in chunks: what Python holds afterwards is what it held before."""
    stream = models["running"].stream()
    chunk = np.ones((100, 3), np.float32)
    frame = chunk[0]

    def run(times: int) -> None:
        for _ in range(times):
            stream.push(chunk)
            for _ in range(100):
                stream.step(frame)

    run(2)
    tracemalloc.start()
    try:
        run(10)
        before, _ = tracemalloc.get_traced_memory()
        run(100)
        after, peak = tracemalloc.get_traced_memory()
        assert after - before < 2_000
        assert peak - before < 100_000  # one chunk and the copies of its outputs
    finally:
        tracemalloc.stop()
    run(890)
    assert stream.frames == 200 * (2 + 10 + 100 + 890)
