"""sLSTM of xLSTM."""

from millstream_models.slstm.model import SLSTM, slstm

__all__ = ["SLSTM", "slstm"]
