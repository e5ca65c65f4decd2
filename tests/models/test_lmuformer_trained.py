"""The trained weights on the official JapaneseVowels test split, in sequence form and frame by frame."""

from pathlib import Path

import numpy as np
import pytest
import torch

import millstream_models
from millstream.datasets import japanese_vowels
from millstream.loading import load
from millstream_models import CATALOGUE

#: Test utterances, of 370, that each model names right at least.
RIGHT = {"lmuformer_jv": 361, "spiking_lmuformer_jv": 355, "leaky_jv": 355}


@pytest.fixture(scope="module")
def split():
    return japanese_vowels.test()


@pytest.fixture(scope="module", params=RIGHT)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def trained(name):
    return load(name).module.requires_grad_(False)


@pytest.fixture(scope="module")
def sequence_logits(trained, split):
    """Every utterance alone, through the sequence form: the logits at its last frame."""
    return torch.cat([trained(torch.tensor(frames)[None])[:, -1] for frames in split.frames])


@pytest.fixture(scope="module")
def streamed_logits(trained, split):
    """All utterances as one batch of streams; each is read when its own last frame has gone in."""
    lengths = torch.tensor([len(frames) for frames in split.frames])
    padded = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(frames) for frames in split.frames], batch_first=True
    )
    state, last = trained.initial_state(len(lengths)), torch.full((len(lengths), 9), torch.nan)
    for tick, frames in enumerate(padded.unbind(1)):
        logits, state = trained.step(frames, state)
        last = torch.where((lengths == tick + 1)[:, None], logits, last)
    return last


def _right(logits, split):
    return int((logits.argmax(1).numpy() == split.labels).sum())


def test_enough_of_the_370_test_utterances_are_named_right(name, sequence_logits, streamed_logits, split):
    assert len(split.labels) == 370
    assert _right(sequence_logits, split) >= RIGHT[name]
    assert _right(streamed_logits, split) >= RIGHT[name]


def test_both_forms_agree_on_every_prediction(sequence_logits, streamed_logits):
    assert torch.equal(sequence_logits.argmax(1), streamed_logits.argmax(1))
    # Float32 rounding through nine layers, on logits of size ten or so; with spikes, none fell otherwise.
    torch.testing.assert_close(sequence_logits, streamed_logits, rtol=1e-5, atol=2e-5)


def test_the_model_normalizes_raw_frames(name, trained):
    frames = torch.from_numpy(np.concatenate(japanese_vowels.train().frames))
    normalized = trained.normalize(frames)
    torch.testing.assert_close(normalized.mean(0), torch.zeros(12), rtol=0, atol=1e-4)
    # The leaky integrators scale by the power of two that comes nearest.
    off = 2**0.5 if name == "leaky_jv" else 1 + 1e-4
    assert normalized.std(0).log2().abs().max() <= np.log2(off)


def test_the_checkpoint_is_small_and_finite(name, trained):
    weights = next(entry.weights for entry in CATALOGUE if entry.name == name)
    assert (Path(millstream_models.__file__).parent / weights).stat().st_size < 300_000
    assert all(tensor.isfinite().all() for tensor in trained.state_dict().values())
