"""Snapshots: a stream goes on elsewhere as if nothing had happened, and nothing else is taken."""

import hashlib

import numpy as np
import pytest
from runtime_builders import centred_sum, counter, frames, load_example, running_sum

from millstream_runtime import Model, errors, safetensors, snapshot
from millstream_runtime.spec import Framing

EXAMPLES = {
    "running": running_sum(),
    "counter": counter(),
    "centred": centred_sum(3),
    "framed": running_sum(4, framing=Framing(2, 4)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Model]:
    return {name: load_example(tmp_path_factory.mktemp(name), example) for name, example in EXAMPLES.items()}


def data(name: str, count: int) -> np.ndarray:
    x = frames(EXAMPLES[name], count, seed=5)
    return x[:, 0] if name == "framed" else x


def flat(results: list) -> list[list]:
    return [[np.asarray(y).tolist() for y in (r if isinstance(r, tuple) else (r,))] for r in results]


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("cut", [0, 1, 2, 5, 9])
def test_a_loaded_stream_continues(models, name, cut):
    x = data(name, 11)
    whole = models[name].stream()
    want = flat(whole.push(x) + whole.flush())

    first, second = models[name].stream(), models[name].stream()
    got = first.push(x[:cut])
    second.push(data(name, 3))  # something to be overwritten
    blob = first.save()
    second.load(blob)
    assert second.save() == blob
    assert (second.frames, second.remainder) == (first.frames, first.remainder)
    fork = first.fork()
    first.push(x[:3])  # the twins are apart
    assert flat(got + second.push(x[cut:]) + second.flush()) == want
    assert flat(got + fork.push(x[cut:]) + fork.flush()) == want


def test_an_ended_stream_stays_ended(models):
    first, second = models["centred"].stream(), models["centred"].stream()
    first.push(data("centred", 4))
    first.flush()
    second.load(first.save())
    assert second.flush() == []
    with pytest.raises(errors.StreamClosed):
        second.step(data("centred", 1)[0])


def test_large_counts(models):
    """A stream that has run for three hundred thousand years at a kilohertz."""
    taken = snapshot.Snapshot((np.zeros(3, np.float32),), 2**63 - 1, 0, False)
    spec, identity = models["running"].spec, models["running"].manifest.model_sha256
    assert snapshot.load(snapshot.dump(taken, spec, identity), spec, identity).frames == 2**63 - 1


def untouched(stream, blob: bytes, error: type[errors.MillstreamError]) -> None:
    before = stream.save()
    with pytest.raises(error):
        stream.load(blob)
    assert stream.save() == before


def test_snapshot_of_another_model(models):
    untouched(models["counter"].stream(), models["running"].stream().save(), errors.SnapshotMismatch)


def test_cut_or_flipped_anywhere(models):
    stream = models["framed"].stream()
    stream.push(data("framed", 7))
    blob = stream.save()
    for position in range(len(blob)):
        untouched(stream, blob[:position], errors.SnapshotInvalid)
        flipped = bytearray(blob)
        flipped[position] ^= 4
        untouched(stream, bytes(flipped), errors.SnapshotInvalid)
    untouched(stream, blob + b"\0", errors.SnapshotInvalid)


def forged(model: Model, arrays: dict[str, np.ndarray], **changes: str) -> bytes:
    """A snapshot whose checksum is right and whose content is not."""
    metadata = {"model": model.manifest.model_sha256, "frames": "1", "drained": "0", "ended": "0"}
    payload = safetensors.dump(arrays, metadata | changes)
    return b"MSSNAP01" + hashlib.sha256(payload).digest() + payload


RIGHT = {"state.s": np.zeros(4, np.float32)}


def test_the_forger_can_write_a_good_one(models):
    models["framed"].stream().load(forged(models["framed"], RIGHT))


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"state.t": np.zeros(4, np.float32)},
        {"state.s": np.zeros(3, np.float32)},
        {"state.s": np.zeros(4)},
        RIGHT | {"more": np.zeros(1)},
        RIGHT | {"remainder": np.zeros(1)},
        RIGHT | {"remainder": np.zeros((1, 1), np.float32)},
        RIGHT | {"remainder": np.zeros(4, np.float32)},
    ],
)
def test_wrong_tensors(models, arrays):
    untouched(models["framed"].stream(), forged(models["framed"], arrays), errors.SnapshotInvalid)


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": "-1"},
        {"frames": "x"},
        {"frames": str(2**63)},
        {"frames": "²"},
        {"drained": "1"},
        {"ended": "2"},
    ],
)
def test_wrong_counters(models, changes):
    untouched(models["framed"].stream(), forged(models["framed"], RIGHT, **changes), errors.SnapshotInvalid)


def test_payload_that_is_no_safetensors(models):
    blob = b"MSSNAP01" + hashlib.sha256(b"junk").digest() + b"junk"
    untouched(models["framed"].stream(), blob, errors.SnapshotInvalid)
    untouched(models["framed"].stream(), b"MSSNAP02" + blob[8:], errors.SnapshotInvalid)


def test_a_remainder_where_whole_frames_are_taken(models):
    model, arrays = models["running"], {"state.s": np.zeros(3, np.float32), "remainder": np.zeros(1)}
    untouched(model.stream(), forged(model, arrays), errors.SnapshotMismatch)
