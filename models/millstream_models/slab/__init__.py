"""SLAB's simplified linear attention, causal."""

from millstream_models.slab.model import SimplifiedLinearAttention, slab

__all__ = ["SimplifiedLinearAttention", "slab"]
