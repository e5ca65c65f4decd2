"""Hybrids of recurrences and attention."""

from millstream_models.hybrid.model import delta_hybrid, interleaved, jamba

__all__ = ["delta_hybrid", "interleaved", "jamba"]
