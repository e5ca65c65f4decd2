"""Tensors as bytes: the safetensors format (https://github.com/huggingface/safetensors), NumPy only.

Eight bytes of header length (little-endian), a JSON header, the tensors' bytes. `dump` gives the bytes
that the safetensors library gives; `load` is as strict: no holes, no overlaps, no unknown dtypes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from millstream_runtime import strict_json
from millstream_runtime.errors import TensorsInvalid

MAX_HEADER_BYTES = 100_000_000

#: Names of the format, in its own order of writing: widest alignment first.
_NAMES = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_RANKS = {dtype: rank for rank, dtype in enumerate(_NAMES)}
_DTYPES = {name: np.dtype(dtype).newbyteorder("<") for dtype, name in _NAMES.items()}


def dump(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """The file's bytes; the same arrays and metadata give the same bytes.

    Raises TensorsInvalid for a dtype that the format does not know.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    parts, offset = [], 0
    for name in sorted(arrays, key=lambda name: (_rank(name, arrays[name]), name)):
        array = arrays[name]
        data = array.astype(_DTYPES[_NAMES[array.dtype.name]], copy=False).tobytes()
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        parts.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def load(data: bytes, where: str = "safetensors") -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays, read-only views into `data`, and the metadata. Raises TensorsInvalid."""
    header, start = _header(data, where)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise TensorsInvalid("the metadata is not a mapping of texts", where=where)
    entries = {name: _entry(entry, f"{where}: {name}") for name, entry in header.items()}
    _check_layout([(begin, end) for _, _, begin, end in entries.values()], len(data) - start, where)
    arrays = {
        name: np.frombuffer(data, dtype, math.prod(shape), start + begin).reshape(shape)
        for name, (dtype, shape, begin, _) in entries.items()
    }
    for name, array in arrays.items():
        if array.dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1:
            raise TensorsInvalid("a boolean is neither 0 nor 1", where=f"{where}: {name}")
    return arrays, metadata


def _rank(name: str, array: np.ndarray) -> int:
    if array.dtype.name not in _RANKS:
        raise TensorsInvalid(f"dtype {array.dtype} cannot be stored", where=name)
    return _RANKS[array.dtype.name]


def _header(data: bytes, where: str) -> tuple[dict[str, Any], int]:
    """The parsed header and where the tensors' bytes begin."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > MAX_HEADER_BYTES or 8 + size > len(data):
        raise TensorsInvalid("the header is cut short or too long", where=where)
    try:
        header = strict_json.loads(data[8 : 8 + size])
    except ValueError as error:
        raise TensorsInvalid("the header is no JSON", where=where, why=str(error)) from error
    if data[8:9] != b"{" or not isinstance(header, dict):
        raise TensorsInvalid("the header is no JSON object", where=where)
    return header, 8 + size


def _entry(entry: Any, where: str) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """dtype, shape, begin and end of one tensor, each checked by itself."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise TensorsInvalid("an entry needs dtype, shape and data_offsets", where=where)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise TensorsInvalid(f"unknown dtype {dtype!r}", where=where)
    if not _naturals(shape) or not _naturals(offsets) or len(shape) > 32 or len(offsets) != 2:
        raise TensorsInvalid("shape or offsets are no lists of natural numbers", where=where)
    begin, end = offsets
    if end - begin != math.prod(shape) * _DTYPES[dtype].itemsize:
        raise TensorsInvalid("shape and offsets disagree", where=where)
    return _DTYPES[dtype], tuple(shape), begin, end


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def _check_layout(spans: list[tuple[int, int]], size: int, where: str) -> None:
    """The tensors fill the rest of the file, one after the other."""
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise TensorsInvalid("tensors overlap or leave a hole", where=where)
        position = end
    if position != size:
        raise TensorsInvalid(
            "the tensors do not fill the file", where=where, why=f"{position} of {size} bytes"
        )
