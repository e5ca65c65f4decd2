"""GTrXL."""

from millstream_models.gtrxl.model import GTrXLBlock, GatedResidual, gtrxl

__all__ = ["GTrXLBlock", "GatedResidual", "gtrxl"]
