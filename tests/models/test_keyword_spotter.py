"""The trained keyword spotter on a voice: as a whole, hop by hop, and as a bundle that takes samples."""

import wave

import numpy as np
import pytest
import torch

import millstream
import millstream_runtime
from millstream.cli.feed import feed
from millstream.datasets import spoken_digits
from millstream.errors import DataInvalid, ToolMissing
from millstream.loading import load
from millstream_models import CATALOGUE
from millstream_models.keyword_spotter import LABELS
from millstream_models.keyword_spotter.model import HOP, RATE

ENTRY = next(entry for entry in CATALOGUE if entry.name == "keyword_spotter")
BACKENDS = ("tvm", "numba", "onnxruntime")


@pytest.fixture(scope="module")
def trained():
    return load("keyword_spotter").module.requires_grad_(False)


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory):
    """Exported for every kind of backend, with the recorded digits as labelled data."""
    path = tmp_path_factory.mktemp("spotter") / "spotter.mill"
    about = millstream.About("spotter", ENTRY.sample_rate, ENTRY.hop, ENTRY.labels)
    exported = millstream.export(
        *(trained, spoken_digits.train(), ("cpu", "numba", "c")),
        labelled=spoken_digits.test(),
        about=about,
    )
    assert exported.ladder.passed
    exported.save(path)
    return path


def streamed(model, frames):
    """Scores (T, 11) of frames (T, 160), hop by hop."""
    state, scores = model.initial_state(1), []
    for frame in torch.tensor(frames):
        score, state = model.step(frame[None], state)
        scores.append(score[0])
    return torch.stack(scores)


def test_the_catalogue_the_model_and_the_data_agree():
    assert ENTRY.labels == LABELS == (*spoken_digits.WORDS, "-")
    assert ENTRY.sample_rate == RATE == spoken_digits.RATE
    assert ENTRY.input_shape == (HOP,) == (spoken_digits.HOP,)
    assert ENTRY.hop == HOP


def test_a_person_is_understood_by_a_model_that_has_heard_none(trained):
    """The digit whose score, averaged over four hops, is highest anywhere in the recording."""
    right = 0
    for frames, digit in zip(spoken_digits.test().frames, spoken_digits.test().labels, strict=True):
        scores = trained(torch.tensor(frames)[None])[0].unfold(0, 4, 1).mean(-1)
        right += int(scores[:, : spoken_digits.NOTHING].amax(0).argmax()) == digit
    assert right >= 9


def test_hop_by_hop_is_the_whole(trained):
    for frames in spoken_digits.test().frames[:3]:
        whole, steps = trained(torch.tensor(frames)[None])[0], streamed(trained, frames)
        # Chunks against steps in float32, on scores of size ten.
        torch.testing.assert_close(steps, whole, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wav_file_in_chunks_of_any_length_gives_the_scores_of_the_whole(trained, bundle, backend, tmp_path):
    samples = spoken_digits.recording("digits/7")
    with wave.open(str(tmp_path / "seven.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32768).astype("<i2").tobytes())
    frames = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    whole = trained(torch.tensor(frames)[None])[0].numpy()
    model = millstream_runtime.load(bundle, backend)
    (chunks,) = feed(str(tmp_path / "seven.wav"), model.spec)
    for pieces in (chunks, np.array_split(samples, 37)):
        with model.stream() as stream:
            scores = np.stack([score for piece in pieces for score in stream.push(piece)])
        np.testing.assert_allclose(scores, whole, rtol=1e-5, atol=2e-5 * np.abs(whole).max())
    assert model.spec.labels[scores.mean(0)[: spoken_digits.NOTHING].argmax()] == "seven"


def test_the_recordings_are_what_they_are_said_to_be():
    digits, letters, words = spoken_digits.test(), spoken_digits.train(), spoken_digits.other_words()
    assert digits.labels.tolist() == list(range(10))
    assert set(letters.labels) == set(words.labels) == {spoken_digits.NOTHING}
    assert (len(letters.frames), len(words.frames)) == (26, 46)
    for frames in (*digits.frames, *letters.frames, *words.frames):
        assert frames.dtype == np.float32
        assert frames.shape[1:] == (HOP,)
        assert 0.1 < np.abs(frames).max() <= 1


def test_without_the_recordings_the_error_gives_the_line_that_installs_them(monkeypatch, tmp_path):
    monkeypatch.setattr(spoken_digits, "_FOLDER", tmp_path / "none")
    with pytest.raises(ToolMissing, match="apt install asterisk-core-sounds-en-wav"):
        spoken_digits.test()


@pytest.mark.parametrize(("rate", "content"), [(16000, b"\0\0"), (8000, None)])
def test_a_broken_recording_is_refused(rate, content, monkeypatch, tmp_path):
    monkeypatch.setattr(spoken_digits, "_FOLDER", tmp_path)
    (tmp_path / "digits").mkdir()
    for digit in range(10):
        path = tmp_path / "digits" / f"{digit}.wav"
        if content is None:
            path.write_bytes(b"RIFF")
            continue
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(content)
    with pytest.raises(DataInvalid, match="a recorded digit cannot be read"):
        spoken_digits.test()
