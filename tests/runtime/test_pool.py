"""A pool of n streams is n streams: same numbers, same states, rows that never touch each other."""

import threading

import numpy as np
import pytest
from runtime_builders import centred_sum, counter, frames, load_example, running_sum, two_inputs

from millstream_runtime import Model, errors, propagate
from millstream_runtime.spec import Framing

EXAMPLES = {"running": running_sum(), "counter": counter(), "centred": centred_sum(2)}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Model]:
    return {name: load_example(tmp_path_factory.mktemp(name), example) for name, example in EXAMPLES.items()}


def as_tuple(result) -> tuple[np.ndarray, ...]:
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_masks_against_single_streams(models, name, seed):
    """Steps, drains and resets of random rows; NaN stands in the frames of rows that are not active."""
    rng, size, model = np.random.default_rng(seed), 5, models[name]
    pool, singles = model.streams(size), [model.stream() for _ in range(size)]
    ended, tails = np.zeros(size, bool), [[] for _ in range(size)]
    for tick in range(120):
        active = rng.random(size) < 0.6
        action = rng.random()
        if action < 0.1:
            pool.reset(active)
            for i in np.flatnonzero(active):
                singles[i].reset()
            ended &= ~active
        elif action < 0.25:
            got = as_tuple(pool.drain(active))
            for i in np.flatnonzero(active):
                if not ended[i]:
                    tails[i] = singles[i].flush()
                if pool.ready[i]:
                    for g, w in zip(got, as_tuple(tails[i].pop(0)), strict=True):
                        np.testing.assert_array_equal(g[i], w)
            ended |= active
        else:
            active &= ~ended
            x = frames(EXAMPLES[name], size, seed=1000 * seed + tick)
            x[~active] = np.nan
            got = as_tuple(pool.step(x, active=active))
            for i in range(size):
                want = singles[i].step(x[i]) if active[i] else None
                assert pool.ready[i] == (want is not None)
                wanted = as_tuple(want) if want is not None else tuple(0 * g[i] for g in got)
                for g, w in zip(got, wanted, strict=True):
                    np.testing.assert_array_equal(g[i], w)
        assert pool.frames.tolist() == [s.frames for s in singles]
        for i in np.flatnonzero(~ended):
            assert pool.save(int(i)) == singles[i].save()


def test_no_mask_means_all_rows(models):
    pool = models["running"].streams(3)
    x = frames(EXAMPLES["running"], 3)
    np.testing.assert_array_equal(pool.step(x), x)
    assert pool.ready.all()


def test_inactive_rows_keep_their_bits(models):
    """Even a state of NaN with a payload, which arithmetic would not carry over."""
    pool = models["running"].streams(2, nonfinite=propagate)
    strange = np.array([0x7FC12345, 0x80000000, 0x00000001], np.uint32).view(np.float32)
    pool._registers.states[0][0] = strange
    for _ in range(3):
        pool.step(np.ones((2, 3), np.float32), active=np.array([False, True]))
    assert pool._registers.states[0][0].tobytes() == strange.tobytes()


def test_snapshots_move_between_pool_and_stream(models):
    x = frames(EXAMPLES["centred"], 9)
    stream, pool = models["centred"].stream(), models["centred"].streams(3)
    want = models["centred"].stream()
    wanted = want.push(x) + want.flush()
    got = stream.push(x[:4])
    pool.load(1, stream.save())
    row = np.array([False, True, False])
    for frame in x[4:7]:
        got.append(pool.step(np.tile(frame, (3, 1)), active=row)[1].copy())
    back = models["centred"].stream()
    back.load(pool.save(1))
    np.testing.assert_array_equal(got + back.push(x[7:]) + back.flush(), wanted)


def test_a_row_saved_while_it_drains(models):
    x = frames(EXAMPLES["centred"], 4)
    whole = models["centred"].stream()
    wanted = whole.push(x) + whole.flush()
    pool, stream = models["centred"].streams(1), models["centred"].stream()
    for frame in x:
        pool.step(frame[None])
    third = pool.drain()[0].copy()
    stream.load(pool.save(0))
    np.testing.assert_array_equal([third, *stream.flush()], wanted[2:])


def test_refusals_touch_no_row(models):
    pool = models["running"].streams(2)
    good = np.ones((2, 3), np.float32)
    pool.step(good)
    before = [pool.save(0), pool.save(1)]
    spoiled = good.copy()
    spoiled[1, 2] = np.nan
    for error, given, mask in (
        (errors.NonFiniteInput, spoiled, None),
        (errors.WrongShape, good[:1], None),
        (errors.WrongShape, good, np.ones(3, bool)),
        (errors.WrongDtype, good.astype(np.float64), None),
        (errors.WrongDtype, good, np.ones(2, np.int8)),
        (errors.WrongDtype, good, [True, True]),
    ):
        with pytest.raises(error):
            pool.step(given, active=mask)
    with pytest.raises(errors.WrongShape):
        pool.step(good, good)
    with pytest.raises(errors.SnapshotInvalid):
        pool.load(0, b"nothing")
    with pytest.raises(IndexError):
        pool.load(2, before[0])
    assert [pool.save(0), pool.save(1)] == before
    assert pool.step(spoiled, active=np.array([True, False]))[0].tolist() == [2, 2, 2]


def test_drained_rows_take_no_frames(models):
    pool = models["centred"].streams(2)
    x = np.ones((2, 2), np.float32)
    pool.step(x)
    pool.drain(np.array([True, False]))
    with pytest.raises(errors.StreamClosed, match=r"\[0\]"):
        pool.step(x)
    pool.step(x, active=np.array([False, True]))
    pool.reset(np.array([True, False]))
    pool.step(x)
    assert pool.frames.tolist() == [1, 3]


def test_closed(models):
    with models["running"].streams(2) as pool:
        assert not pool.closed
    assert pool.closed
    x = np.ones((2, 3), np.float32)
    for call in (
        lambda: pool.step(x),
        pool.drain,
        pool.reset,
        lambda: pool.save(0),
        lambda: pool.load(0, b""),
    ):
        with pytest.raises(errors.StreamClosed):
            call()
    pool.close()


def test_several_inputs(tmp_path):
    pool = load_example(tmp_path, two_inputs()).streams(3)
    a, b = np.arange(12, dtype=np.float32).reshape(3, 2, 2), np.array([1, -2, 3], np.float32)
    np.testing.assert_array_equal(pool.step(a, b), a * b[:, None, None])


def test_fixed_batch(tmp_path):
    model = load_example(tmp_path, running_sum(batch=4))
    x = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(model.streams(4).step(x), x)
    with pytest.raises(errors.BatchFixed):
        model.streams(3)
    with pytest.raises(errors.BatchFixed):
        model.stream()
    with pytest.raises(errors.WrongShape):
        model.streams(0)


def test_a_pool_takes_no_unfinished_frame(tmp_path):
    model = load_example(tmp_path, running_sum(4, framing=Framing(2, 4)))
    stream, pool = model.stream(), model.streams(1)
    stream.push(np.ones(5, np.float32))
    with pytest.raises(errors.SnapshotMismatch, match="unfinished frame"):
        pool.load(0, stream.save())


def test_threads_share_a_model(models):
    """Eight threads, each with its own stream of one model, give what each would give alone."""
    results: dict[int, np.ndarray] = {}

    def work(seed: int) -> None:
        results[seed] = np.array(models["running"].stream().push(frames(EXAMPLES["running"], 2000, seed)))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(8):
        x = frames(EXAMPLES["running"], 2000, seed)
        np.testing.assert_array_equal(results[seed], EXAMPLES["running"].sequence(x)[0])
