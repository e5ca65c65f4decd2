"""Attention sinks and a window."""

from millstream_models.sinks.model import SinkAttention, sinks

__all__ = ["SinkAttention", "sinks"]
