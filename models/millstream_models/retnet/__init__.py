"""Retention."""

from millstream_models.retnet.model import Retention, retnet

__all__ = ["Retention", "retnet"]
