"""The caller's buffers in `layout.json`, as run halves that load compiled code read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from millstream_runtime.errors import PlanInvalid
from millstream_runtime.program import CALLER_ROLES, DTYPES, Buffer


def dump_callers(callers: Iterable[Buffer]) -> list[list[Any]]:
    """Name, role, dtype and size of each."""
    return [[buffer.name, buffer.role, buffer.dtype, buffer.size] for buffer in callers]


def read_callers(entries: Iterable[Sequence[Any]]) -> tuple[Buffer, ...]:
    """Check and read what `dump_callers` gives.

    Raises PlanInvalid; ValueError or TypeError where it is no list of such entries.
    """
    callers = tuple(Buffer(name, role, dtype, size) for name, role, dtype, size in entries)
    for buffer in callers:
        known = buffer.role in CALLER_ROLES and buffer.dtype in DTYPES and isinstance(buffer.name, str)
        if not known or not is_size(buffer.size):
            raise layout_invalid("a buffer makes no sense", repr(buffer))
    return callers


def is_size(value: object) -> bool:
    """Whether it is a whole number, not below 0."""
    return type(value) is int and value >= 0


def layout_invalid(what: str, why: str) -> PlanInvalid:
    """The error of a layout that breaks a rule."""
    return PlanInvalid(what, where="layout.json", why=why)
