"""Linear attention with elu + 1."""

from millstream_models.linear_transformer.model import LinearAttention, linear_transformer

__all__ = ["LinearAttention", "linear_transformer"]
