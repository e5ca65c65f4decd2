"""Spiking LMUFormer."""

from millstream_models.spiking_lmuformer.model import SpikingLMUFormer, spiking_lmuformer

__all__ = ["SpikingLMUFormer", "spiking_lmuformer"]
