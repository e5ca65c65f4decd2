"""Flowformer, causal."""

from millstream_models.flowformer.model import FlowAttention, flowformer

__all__ = ["FlowAttention", "flowformer"]
