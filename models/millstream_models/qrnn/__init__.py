"""QRNN."""

from millstream_models.qrnn.model import QRNN, qrnn

__all__ = ["QRNN", "qrnn"]
