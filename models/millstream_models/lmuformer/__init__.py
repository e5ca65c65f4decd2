"""LMUFormer: a convolutional stem and a Legendre memory; streams in constant memory."""

from millstream_models.lmuformer.config import LMUFormerConfig
from millstream_models.lmuformer.factories import lmuformer_jv, lmuformer_kws
from millstream_models.lmuformer.model import CausalLMUFormer, LMUFormer

__all__ = ["CausalLMUFormer", "LMUFormer", "LMUFormerConfig", "lmuformer_jv", "lmuformer_kws"]
