"""Reading parsed JSON field by field, so that nothing unexpected gets past the reader.

A reader takes a value and the place it stands at, returns it checked, and raises ManifestInvalid
naming that place when it is something else. `many`, `optional` and `record` make readers from readers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from millstream_runtime.errors import ManifestInvalid

T = TypeVar("T")
Reader = Callable[[Any, str], T]


def wrong(expected: str, value: Any, where: str) -> ManifestInvalid:
    return ManifestInvalid(f"expected {expected}", where=where, why=f"found {repr(value)[:60]}")


def text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise wrong("text", value, where)
    return value


def name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 200 or not value.isprintable():
        raise wrong("a printable name of at most 200 characters", value, where)
    return value


def digest(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise wrong("a SHA-256 in lower-case hex", value, where)
    return value


def flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise wrong("true or false", value, where)
    return value


def integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise wrong("a non-negative integer", value, where)
    return value


def positive(value: Any, where: str) -> int:
    if integer(value, where) == 0:
        raise wrong("a positive integer", value, where)
    return value


def number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise wrong("a finite number", value, where)
    return float(value)


def positive_number(value: Any, where: str) -> float:
    if number(value, where) <= 0:
        raise wrong("a positive number", value, where)
    return float(value)


def shape(value: Any, where: str) -> tuple[int, ...]:
    """Dimensions of a tensor small enough to be allocated: fewer than 2**31 elements."""
    dimensions = many(integer)(value, where)
    if len(dimensions) > 32 or math.prod(dimensions) >= 2**31:
        raise wrong("a shape of fewer than 2**31 elements", value, where)
    return dimensions


def mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong("an object", value, where)
    return value


def many(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list of what `read` reads."""

    def read_all(value: Any, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise wrong("a list", value, where)
        return tuple(read(item, f"{where}[{i}]") for i, item in enumerate(value))

    return read_all


def optional(read: Reader[T]) -> Reader[T | None]:
    """What `read` reads, or null."""
    return lambda value, where: None if value is None else read(value, where)


def record(make: Callable[..., T], **readers: Reader[Any]) -> Reader[T]:
    """An object with exactly the fields named, each read by its reader and given to `make`."""

    def read(value: Any, where: str) -> T:
        given = mapping(value, where)
        for what, names in (("unknown", given.keys() - readers), ("missing", readers.keys() - given)):
            if names:
                raise ManifestInvalid(f"{what} fields", where=where, why=", ".join(sorted(map(repr, names))))
        return make(**{name: reader(given[name], f"{where}.{name}") for name, reader in readers.items()})

    return read
