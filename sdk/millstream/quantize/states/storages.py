"""The storages that are tried for a state."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.errors import UsageError
from millstream.quantize.states.halved import Halved
from millstream.quantize.states.scaled import Scaled
from millstream.quantize.states.storage import Storage, kept_bytes

FLOAT32_BYTES = 4
INT8, FLOAT16, INT16 = Scaled("int8"), Halved(), Scaled("int16")
#: Of two that are as small the one that is less work comes first.
STORAGES: tuple[Storage, ...] = (FLOAT16, INT8, INT16)


def storage_of(dtype: str) -> Storage:
    """The storage in that dtype. Raises UsageError naming those that exist."""
    named = {storage.dtype: storage for storage in STORAGES}
    if dtype not in named:
        raise UsageError(f"states cannot be kept in {dtype!r}", fix="use one of " + ", ".join(named))
    return named[dtype]


def smaller(storages: Sequence[Storage], values: int) -> list[Storage]:
    """Those in which a state of so many values is smaller than in float32, the smallest first."""
    found = (storage for storage in storages if kept_bytes(storage, values) < values * FLOAT32_BYTES)
    return sorted(found, key=lambda storage: kept_bytes(storage, values))
