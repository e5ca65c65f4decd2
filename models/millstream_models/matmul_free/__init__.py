"""The MatMul-free language model."""

from millstream_models.matmul_free.model import MLGRU, matmul_free

__all__ = ["MLGRU", "matmul_free"]
