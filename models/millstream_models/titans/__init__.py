"""Titans with a linear memory."""

from millstream_models.titans.model import NeuralMemory, titans

__all__ = ["NeuralMemory", "titans"]
