"""Byte-level language models of one size."""

from millstream_models.byte_language.model import (
    VOCABULARY,
    gated_deltanet_bytes,
    gla_bytes,
    mamba_bytes,
    mlgru_bytes,
)

#: The four models, as factories of this package and as files of weights beside it.
NAMES = ("mamba_bytes", "gla_bytes", "gated_deltanet_bytes", "mlgru_bytes")

__all__ = ["NAMES", "VOCABULARY", "gated_deltanet_bytes", "gla_bytes", "mamba_bytes", "mlgru_bytes"]
