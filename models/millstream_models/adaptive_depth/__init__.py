"""Early exit and layer skipping."""

from millstream_models.adaptive_depth.model import EarlyExit, SkippedLayers, early_exit, layer_skip

__all__ = ["EarlyExit", "SkippedLayers", "early_exit", "layer_skip"]
