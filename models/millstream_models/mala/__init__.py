"""MALA, causal."""

from millstream_models.mala.model import MagnitudeAwareAttention, mala

__all__ = ["MagnitudeAwareAttention", "mala"]
