"""GTrXL."""

from millstream_models.gtrxl.model import GatedResidual, GTrXLBlock, gtrxl

__all__ = ["GTrXLBlock", "GatedResidual", "gtrxl"]
