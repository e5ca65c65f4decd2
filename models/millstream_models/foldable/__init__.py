"""Blocks that are trained in one form and deployed in a smaller one, and two small models of them."""

from millstream_models.foldable.idle_feed_forward import IdleFeedForward
from millstream_models.foldable.progressive_norm import ProgressiveNorm, TokenBatchNorm
from millstream_models.foldable.streaming import FoldableStream, StreamingConfig
from millstream_models.foldable.vision import FoldableVision, VisionConfig

__all__ = [
    "FoldableStream",
    "FoldableVision",
    "IdleFeedForward",
    "ProgressiveNorm",
    "StreamingConfig",
    "TokenBatchNorm",
    "VisionConfig",
]
