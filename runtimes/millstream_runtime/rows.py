"""Frames and outputs as bytes, for pipes and sockets: little-endian numbers in C order, row after row.

A row in is one frame, or one sample where the model cuts its frames: its inputs, in the manifest's order. A
row out is the outputs of one frame. Nothing stands between two tensors or two rows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from millstream_runtime.errors import WrongShape
from millstream_runtime.spec import ModelSpec
from millstream_runtime.stream import Result


def input_row(spec: ModelSpec) -> np.dtype:
    """One row in, with a field for each input. Raises WrongShape for rows without bytes."""
    cut = 1 if spec.framing else 0
    row = np.dtype([(t.name, _little(t.dtype), t.shape[cut:]) for t in spec.inputs])
    if not row.itemsize:
        raise WrongShape("frames without numbers cannot be told apart in a stream of bytes", where=spec.name)
    return row


def output_row(spec: ModelSpec) -> np.dtype:
    """One row out, with a field for each output."""
    return np.dtype([(t.name, _little(t.dtype), t.shape) for t in spec.outputs])


def samples(data: bytes, row: np.dtype) -> tuple[np.ndarray, ...]:
    """What `Stream.push` takes, out of whole rows: (n, ...) for each input, in this machine's byte order."""
    rows = np.frombuffer(data, row)
    return tuple(np.array(rows[name], rows[name].dtype.newbyteorder("="), order="C") for name in _names(row))


def encoded(results: Iterable[Result], row: np.dtype) -> bytes:
    """The bytes of outputs."""
    listed = list(results)
    rows = np.zeros(len(listed), row)
    for number, result in enumerate(listed):
        outputs = result if isinstance(result, tuple) else (result,)
        for name, output in zip(_names(row), outputs, strict=True):
            rows[name][number] = output
    return rows.tobytes()


def _names(row: np.dtype) -> tuple[str, ...]:
    return row.names or ()


def _little(dtype: str) -> np.dtype:
    return np.dtype(dtype).newbyteorder("<")
