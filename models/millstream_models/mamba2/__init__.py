"""Mamba-2: selective state spaces with one decay per head."""

from millstream_models.mamba2.model import Mamba2, mamba2

__all__ = ["Mamba2", "mamba2"]
