"""How many bits the values and the constants of a fixed-point step have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: The bits that everything has unless it is narrowed.
WORD = 16
#: The bits of a weight in int8.
BYTE = 8


@dataclass(frozen=True)
class Widths:
    """Bits, the sign among them; what is not named has 16.

    `values` are named by the float value that they stand for, and those that share a binary point by the
    representative of all (`ranges.shared`). `constants` are the weights or factors of an operation, named by
    the value that it computes. `bytes` are the products whose weights are int8 with one binary point, named
    alike: they take half the memory.
    """

    values: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, int] = field(default_factory=dict)
    bytes: frozenset[str] = frozenset()


def lowest(bits: int) -> int:
    """The smallest integer of that many bits."""
    return -(1 << (bits - 1))


def highest(bits: int) -> int:
    """The largest integer of that many bits."""
    return (1 << (bits - 1)) - 1
