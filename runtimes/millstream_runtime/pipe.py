"""One stream between two files: rows in, rows out, as they come (`rows` says what a row is)."""

from __future__ import annotations

from typing import BinaryIO

from millstream_runtime import rows
from millstream_runtime.errors import RowCutShort
from millstream_runtime.model import Model
from millstream_runtime.nonfinite import Policy, refuse

_READ_BYTES = 65536


def stream_through(model: Model, source: BinaryIO, sink: BinaryIO, nonfinite: Policy = refuse) -> int:
    """Push all rows of `source` through a new stream and write what comes to `sink`, the look-ahead drained
    at the end; how many frames that were.

    Raises RowCutShort when `source` ends within a row, after all whole rows went through, and as
    `Stream.push` does.
    """
    row, out = rows.input_row(model.spec), rows.output_row(model.spec)
    waiting = b""
    with model.stream(nonfinite) as stream:
        # read1 returns what is there; read would wait until its buffer is full.
        while data := source.read1(_READ_BYTES):  # type: ignore[attr-defined]
            waiting += data
            whole = len(waiting) - len(waiting) % row.itemsize
            if whole:
                results = stream.push(*rows.samples(waiting[:whole], row))
                waiting = waiting[whole:]
                sink.write(rows.encoded(results, out))
                sink.flush()
        sink.write(rows.encoded(stream.flush(), out))
        sink.flush()
        if waiting:
            raise RowCutShort(
                "the input ends within a row", why=f"{len(waiting)} of {row.itemsize} bytes came"
            )
        return stream.frames
