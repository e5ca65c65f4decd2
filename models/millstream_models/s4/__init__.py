"""S4: diagonal plus low rank."""

from millstream_models.s4.model import S4, s4

__all__ = ["S4", "s4"]
