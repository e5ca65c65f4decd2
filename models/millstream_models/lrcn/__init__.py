"""LRCN."""

from millstream_models.lrcn.model import LSTM, FrameNetwork, lrcn

__all__ = ["LSTM", "FrameNetwork", "lrcn"]
