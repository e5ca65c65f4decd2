"""The delta family."""

from millstream_models.deltanet.model import (
    DeltaNet,
    deltanet,
    deltanet_signed,
    deltaproduct,
    gated_deltanet,
    gated_deltaproduct,
)

__all__ = ["DeltaNet", "deltanet", "deltanet_signed", "deltaproduct", "gated_deltanet", "gated_deltaproduct"]
