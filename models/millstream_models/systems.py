"""The streaming systems of the literature, each in a small untrained configuration.

All take frames of 12 numbers and give 8; random weights, so they serve to prove, measure and read, not to
predict. The folder of a system has its `README.md`.
"""

from __future__ import annotations

from millstream_models.reference_model import ReferenceModel


def _system(name: str, folder: str, summary: str) -> ReferenceModel:
    return ReferenceModel(name, f"millstream_models.{folder}:{name}", f"{summary}; UNTRAINED", (12,))


SYSTEMS: tuple[ReferenceModel, ...] = (
    _system("linear_transformer", "linear_transformer", "linear attention, elu + 1, with its normaliser"),
    _system("hedgehog", "hedgehog", "linear attention with a learned exponential feature map"),
    _system("hedgehog_two_softmax", "hedgehog", "Hedgehog with the feature map of LoLCATs"),
    _system("hedgehog_joint_softmax", "hedgehog", "Hedgehog with the feature map of flash-linear-attention"),
    _system("transnormer", "lightning", "linear attention, normed instead of divided"),
    _system("lightning", "lightning", "the same with fixed decays per head and layer"),
    _system("retnet", "retnet", "retention: a fixed decay per head, rotary positions"),
    _system("gla", "gla", "gated linear attention: a decay per key channel and frame"),
    _system("hgrn2", "hgrn2", "HGRN2: the input gate is what the forget gate leaves"),
)
