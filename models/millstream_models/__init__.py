"""Reference models in plain PyTorch, and the catalogue that lists them.

The catalogue is data: importing this package imports no model and no torch. Weights are looked up in
this package's folder and loaded by whoever calls the factory.
"""

from __future__ import annotations

from millstream_models.reference_model import ReferenceModel
from millstream_models.systems import SYSTEMS

_BYTE_LANGUAGE = {
    "mamba_bytes": "Mamba",
    "gla_bytes": "gated linear attention",
    "gated_deltanet_bytes": "Gated DeltaNet",
    "mlgru_bytes": "MLGRU between ternary layers",
}
_SPEAKERS = tuple(f"speaker {number}" for number in range(1, 10))


def _byte_language(name: str, mixer: str) -> ReferenceModel:
    return ReferenceModel(
        name=name,
        factory=f"millstream_models.byte_language:{name}",
        summary=f"{mixer} trained on the text of Python's library: the next byte",
        input_shape=(),
        weights=f"byte_language/{name}.safetensors",
        dataset="python_library",
        input_dtype="int64",
    )


CATALOGUE: tuple[ReferenceModel, ...] = (
    ReferenceModel(
        name="lmuformer_jv",
        factory="millstream_models.lmuformer:lmuformer_jv",
        summary="causal LMUFormer trained on JapaneseVowels: which of nine speakers, no look-ahead",
        input_shape=(12,),
        weights="lmuformer/japanese_vowels.safetensors",
        dataset="japanese_vowels",
        sample_rate=156.25,
        labels=_SPEAKERS,
    ),
    ReferenceModel(
        name="spiking_lmuformer_jv",
        factory="millstream_models.spiking_lmuformer:spiking_lmuformer_jv",
        summary="spiking LMUFormer trained on JapaneseVowels: which of nine speakers, no look-ahead",
        input_shape=(12,),
        weights="spiking_lmuformer/japanese_vowels.safetensors",
        dataset="japanese_vowels",
        sample_rate=156.25,
        labels=_SPEAKERS,
    ),
    ReferenceModel(
        name="leaky_jv",
        factory="millstream_models.leaky:leaky_jv",
        summary="leaky integrators trained on JapaneseVowels in weights of 4 bits, for unrolled logic",
        input_shape=(12,),
        weights="leaky/japanese_vowels.safetensors",
        dataset="japanese_vowels",
        sample_rate=156.25,
        labels=_SPEAKERS,
    ),
    ReferenceModel(
        name="lmuformer_kws",
        factory="millstream_models.lmuformer:lmuformer_kws",
        summary="LMUFormer at the paper's sizes for Speech Commands, five frames of look-ahead; UNTRAINED",
        input_shape=(128,),
    ),
    ReferenceModel(
        name="keyword_spotter",
        factory="millstream_models.keyword_spotter:keyword_spotter",
        summary="Mamba-2 behind a log-mel front end, trained on synthesized speech: spoken digits",
        input_shape=(160,),
        weights="keyword_spotter/spoken_digits.safetensors",
        dataset="spoken_digits",
        sample_rate=8000.0,
        labels=("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "-"),
        hop=160,
    ),
    ReferenceModel(
        name="motion",
        factory="millstream_models.motion:motion",
        summary="Gated DeltaNet trained on BasicMotions, a smart watch: which of four activities",
        input_shape=(6,),
        weights="motion/basic_motions.safetensors",
        dataset="basic_motions",
        sample_rate=10.0,
        labels=("Standing", "Running", "Walking", "Badminton"),
    ),
    ReferenceModel(
        name="pulse",
        factory="millstream_models.pulse:pulse",
        summary="HGRN2 trained to foretell a pulse: how surprising each sample is",
        input_shape=(1,),
        weights="pulse/internal_bleeding.safetensors",
        dataset="internal_bleeding",
    ),
    *(_byte_language(name, mixer) for name, mixer in _BYTE_LANGUAGE.items()),
    *SYSTEMS,
)

__all__ = ["CATALOGUE", "SYSTEMS", "ReferenceModel"]
