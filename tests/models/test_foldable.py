"""The foldable models: the causal attention against loops, sequence against step, training, folding."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from fold_models import make, noise, streamed
from torch import nn

from millstream.datasets import japanese_vowels
from millstream.reparameterize import BOUND, reparameterize
from millstream_models.foldable import FoldableStream, StreamingConfig
from millstream_models.foldable.attention import CausalAttention
from millstream_models.foldable.naive import naive_attention

_SCRIPT = Path(__file__).parents[2] / "models" / "training" / "foldable.py"


def _training():
    spec = importlib.util.spec_from_file_location("foldable_training", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("length", [1, 2, 3, 11])
def test_the_causal_attention_is_what_its_equation_says(length):
    attention, x = make(CausalAttention, 12, 3).double(), noise(1, length, 12).double()
    torch.testing.assert_close(attention(x)[0], naive_attention(attention, x[0]), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 17])
def test_the_stream_gives_what_the_sequence_gives(length):
    model = make(FoldableStream, StreamingConfig(inputs=5, classes=3, width=12, heads=3)).double().eval()
    x = noise(2, length, 5).double()
    torch.testing.assert_close(streamed(model, x), model(x), atol=1e-12, rtol=1e-12)


def test_both_trained_models_fold_to_the_papers_three_matrices_and_predict_the_same():
    training, split = _training(), japanese_vowels.train()
    vision, stream = training.vision(split, epochs=3), training.stream(split, epochs=3)
    for model, example, shown in (
        (vision, training.images(split), training.images(japanese_vowels.test())[:64]),
        (stream, list(split.frames), torch.tensor(split.frames[3])[None]),
    ):
        folded, report = reparameterize(model, example)
        assert not report.left_alone
        with torch.no_grad():
            want, got = model(shown), folded(shown)
        assert (got - want).abs().max() < BOUND * want.abs().max()
        width, layers = 64, [m for m in folded.modules() if isinstance(m, nn.Linear)]
        blocks = len(model.blocks)
        in_blocks = sum(m.weight.numel() for m in layers) - width * (9 + (12 if model is stream else 0))
        assert in_blocks == blocks * (4 + 3) * width * width
        assert report.after.macs < 0.65 * report.before.macs
    assert (streamed(folded, shown) - want).abs().max() < BOUND * want.abs().max()
