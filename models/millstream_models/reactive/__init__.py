"""Reactive Transformer memory."""

from millstream_models.reactive.model import SlotMemory, reactive

__all__ = ["SlotMemory", "reactive"]
