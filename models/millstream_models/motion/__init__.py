"""What a person with a smart watch does."""

from millstream_models.motion.model import LABELS, motion

__all__ = ["LABELS", "motion"]
