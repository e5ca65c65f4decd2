"""Incremental FastPitch."""

from millstream_models.fastpitch.model import ChunkBlock, fastpitch

__all__ = ["ChunkBlock", "fastpitch"]
