"""Causal language models of transformers: the cache found, made explicit, and stepped token by token."""

from __future__ import annotations

from millstream.huggingface.loading import causal_step, from_folder

__all__ = ["causal_step", "from_folder"]
