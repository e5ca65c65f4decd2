"""JSON without the liberties that Python's parser takes: two readers must never see two documents."""

from __future__ import annotations

import json
import math
from typing import Any


def loads(data: bytes) -> Any:
    """Parse UTF-8 JSON. Raises ValueError, also for a key given twice, NaN, infinities, deep nesting."""
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_float=_finite,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys, one item a line: the same value gives the same bytes.

    Raises TypeError or ValueError for what JSON cannot say.
    """
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8") + b"\n"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value
