"""LRCN."""

from millstream_models.lrcn.model import FrameNetwork, LSTM, lrcn

__all__ = ["FrameNetwork", "LSTM", "lrcn"]
