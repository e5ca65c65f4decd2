"""EcoFormer's binary attention."""

from millstream_models.ecoformer.model import BinaryAttention, ecoformer

__all__ = ["BinaryAttention", "ecoformer"]
