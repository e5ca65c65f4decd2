"""Aaren: attention as a recurrence."""

from millstream_models.aaren.model import Aaren, aaren

__all__ = ["Aaren", "aaren"]
