"""Blocks that are trained in one form and deployed in a smaller one: SLAB's norm, RePaViT's feed-forward."""

from millstream_models.foldable.idle_feed_forward import IdleFeedForward
from millstream_models.foldable.progressive_norm import ProgressiveNorm, TokenBatchNorm

__all__ = ["IdleFeedForward", "ProgressiveNorm", "TokenBatchNorm"]
