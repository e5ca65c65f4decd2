"""The trained byte-level models on a module that no training has read, as a whole and byte by byte."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import millstream
import millstream_models.byte_language as models
from millstream.datasets import python_library
from millstream.errors import DataInvalid

FOLDER = Path(models.__file__).parent
#: Bytes read; a stretch of a held-out module in the middle of which code gives way to a docstring.
LENGTH = 700
each_model = pytest.mark.parametrize("name", models.NAMES)


def trained(name):
    model = getattr(models, name)()
    model.load_state_dict(load_file(FOLDER / f"{name}.safetensors"))
    return model.requires_grad_(False)


def bits(logits, text):
    """Bits per byte of logits (T, 256) for the bytes that follow."""
    return float(torch.nn.functional.cross_entropy(logits, text)) / math.log(2)


@each_model
def test_a_stream_guesses_as_the_whole_does_and_has_learnt(name):
    model, text = trained(name), torch.from_numpy(python_library.held_out_texts()["shlex"][: LENGTH + 1])
    whole = model(text[None, :-1])[0]
    state, streamed = model.initial_state(1), []
    for byte in text[:-1]:
        logits, state = model.step(byte[None], state)
        streamed.append(logits[0])
    # Ternary layers round activations: one that lies at a tie may fall to either side, and a frame with it.
    assert bits(torch.stack(streamed), text[1:]) == pytest.approx(bits(whole, text[1:]), abs=1e-3)
    share = torch.bincount(text) / len(text)
    frequencies = -float(torch.special.xlogy(share, share).sum()) / math.log(2)
    # Even the frequencies of this very text, which the model has not seen, would cost more.
    assert bits(whole, text[1:]) < 0.85 * frequencies
    assert bits(whole, text[1:].roll(1)) > frequencies


@each_model
def test_the_models_are_of_one_size(name):
    size = sum(parameter.numel() for parameter in trained(name).parameters())
    assert size == pytest.approx(235_000, rel=0.01)
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 1_000_000


@pytest.mark.parametrize("name", ["mamba_bytes", "mlgru_bytes"])
def test_an_export_predicts_the_next_byte_as_torch_does(name):
    example = python_library.train()
    labelled = millstream.sequences.Sequences(
        python_library.test().frames[::12], python_library.test().labels[::12]
    )
    exported = millstream.export(trained(name), example, "onnxruntime", labelled=labelled)
    assert exported.ladder.passed


def test_no_training_reads_what_is_held_out():
    text = python_library.training_text().astype(np.uint8).tobytes()
    assert len(text) > 3_000_000
    for name, held_out in python_library.held_out_texts().items():
        assert held_out.astype(np.uint8).tobytes() not in text, name


def test_the_order_of_the_text_follows_from_the_seed():
    first, second = python_library.training_text(1), python_library.training_text(2)
    assert np.array_equal(first, python_library.training_text(1))
    assert len(first) == len(second)
    assert not np.array_equal(first, second)


def test_a_library_without_sources_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(python_library, "_folder", lambda: tmp_path)
    with pytest.raises(DataInvalid, match="a module of the standard library cannot be read"):
        python_library.held_out_texts()
