"""Spiking LMUFormer."""

from millstream_models.spiking_lmuformer.model import (
    SpikingLMUFormer,
    spiking_lmuformer,
    spiking_lmuformer_jv,
)

__all__ = ["SpikingLMUFormer", "spiking_lmuformer", "spiking_lmuformer_jv"]
