"""Gated linear attention."""

from millstream_models.gla.model import GatedLinearAttention, gla

__all__ = ["GatedLinearAttention", "gla"]
