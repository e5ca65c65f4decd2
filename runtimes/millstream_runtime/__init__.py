"""The device half of Millstream: read a bundle, run its model one frame at a time.

    import millstream_runtime as ms

    model = ms.load("kws.mill")
    with model.stream() as stream:
        y = stream.step(frame)

Needs NumPy; a backend's own library is imported when that backend is opened.
"""

from millstream_runtime import errors
from millstream_runtime.archive import Limits
from millstream_runtime.bundle import Bundle, read
from millstream_runtime.errors import MillstreamError
from millstream_runtime.model import Model, load, open_target
from millstream_runtime.nonfinite import propagate, refuse, replace_by_zero
from millstream_runtime.pool import Pool
from millstream_runtime.stream import Stream

__all__ = [
    "Bundle",
    "Limits",
    "MillstreamError",
    "Model",
    "Pool",
    "Stream",
    "errors",
    "load",
    "open_target",
    "propagate",
    "read",
    "refuse",
    "replace_by_zero",
]
