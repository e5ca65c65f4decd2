"""The configurations that the catalogue offers, as factories of untrained models in evaluation mode."""

from __future__ import annotations

import torch

from millstream_models.lmuformer.config import LMUFormerConfig
from millstream_models.lmuformer.model import CausalLMUFormer, LMUFormer

JAPANESE_VOWELS = LMUFormerConfig(inputs=12, classes=9, width=48, order=32, theta=32.0, normalize_input=True)
SPEECH_COMMANDS = LMUFormerConfig(inputs=128, classes=35, width=256, order=256, theta=128.0)


def lmuformer_jv() -> CausalLMUFormer:
    """The small causal model for JapaneseVowels: (12,) raw frames, 9 speakers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CausalLMUFormer(JAPANESE_VOWELS).eval()


def lmuformer_kws() -> LMUFormer:
    """The paper's model for Speech Commands: (128,) mel frames, 35 words, look-ahead of five frames."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LMUFormer(SPEECH_COMMANDS).eval()
