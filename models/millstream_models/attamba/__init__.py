"""Attamba."""

from millstream_models.attamba.model import Attamba, attamba

__all__ = ["Attamba", "attamba"]
