"""mLSTM of xLSTM."""

from millstream_models.mlstm.model import MLSTM, mlstm

__all__ = ["MLSTM", "mlstm"]
