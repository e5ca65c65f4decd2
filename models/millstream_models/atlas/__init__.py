"""ATLAS."""

from millstream_models.atlas.model import WindowMemory, atlas

__all__ = ["WindowMemory", "atlas"]
