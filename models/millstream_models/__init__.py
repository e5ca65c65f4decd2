"""Reference models in plain PyTorch, and the catalogue that lists them.

The catalogue is data: importing this package imports no model and no torch. Weights are looked up in
this package's folder and loaded by whoever calls the factory.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReferenceModel:
    """One model that can be exported by its name.

    Attributes:
        name: what one types.
        factory: `package.module:function`; called without arguments, it gives an untrained module in
            evaluation mode, with the same weights every time.
        summary: one line for people.
        input_shape: shape of one float32 frame, without batch.
        weights: safetensors file relative to this package, or "" where none were trained.
        dataset: module of `millstream.datasets` with the data that the weights were trained on, or "".
        sample_rate: frames per second, or None where the front end decides.
        labels: name of each class, or empty.
    """

    name: str
    factory: str
    summary: str
    input_shape: tuple[int, ...]
    weights: str = ""
    dataset: str = ""
    sample_rate: float | None = None
    labels: tuple[str, ...] = ()


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
)
