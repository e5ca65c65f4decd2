"""TransNormer and Lightning attention."""

from millstream_models.lightning.model import NormAttention, lightning, lightning_decays, transnormer

__all__ = ["NormAttention", "lightning", "lightning_decays", "transnormer"]
