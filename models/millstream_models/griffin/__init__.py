"""Griffin's real-gated linear recurrence."""

from millstream_models.griffin.model import RealGatedRecurrence, griffin

__all__ = ["RealGatedRecurrence", "griffin"]
