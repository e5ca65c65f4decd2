"""Reference models in plain PyTorch, and the catalogue that lists them.

The catalogue is data: importing this package imports no model and no torch. Weights are looked up in
this package's folder and loaded by whoever calls the factory.
"""

from __future__ import annotations

from millstream_models.reference_model import ReferenceModel
from millstream_models.systems import SYSTEMS

CATALOGUE: tuple[ReferenceModel, ...] = (
    ReferenceModel(
        name="lmuformer_jv",
        factory="millstream_models.lmuformer:lmuformer_jv",
        summary="causal LMUFormer trained on JapaneseVowels: which of nine speakers, no look-ahead",
        input_shape=(12,),
        weights="lmuformer/japanese_vowels.safetensors",
        dataset="japanese_vowels",
        sample_rate=156.25,
        labels=tuple(f"speaker {i}" for i in range(1, 10)),
    ),
    ReferenceModel(
        name="lmuformer_kws",
        factory="millstream_models.lmuformer:lmuformer_kws",
        summary="LMUFormer at the paper's sizes for Speech Commands, five frames of look-ahead; UNTRAINED",
        input_shape=(128,),
    ),
    *SYSTEMS,
)

__all__ = ["CATALOGUE", "SYSTEMS", "ReferenceModel"]
