"""Mamba: selective state spaces."""

from millstream_models.mamba.model import Mamba, mamba, mamba_signed, positive_decay, signed_decay

__all__ = ["Mamba", "mamba", "mamba_signed", "positive_decay", "signed_decay"]
