"""Liger."""

from millstream_models.liger.model import Liger, liger

__all__ = ["Liger", "liger"]
