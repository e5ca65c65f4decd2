"""RWKV-7."""

from millstream_models.rwkv7.model import RWKV7, rwkv7

__all__ = ["RWKV7", "rwkv7"]
