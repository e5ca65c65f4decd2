"""How a layer computes its products: on multipliers, one for each or shared, or on adders alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Adders:
    """A product of which each constant is wired into adders: 6-input `tables`, and `levels` of adders from an
    operand to a result."""

    tables: int
    levels: int


@dataclass(frozen=True)
class Strategy:
    """`reuse` products take turns at one multiplier. With `adders` there is none, and `reuse` is 1."""

    reuse: int
    adders: Adders | None = None

    @property
    def name(self) -> str:
        """What hls4ml calls it."""
        if self.adders:
            return "distributed_arithmetic"
        return "resource" if self.reuse > 1 else "latency"

    @property
    def told(self) -> str:
        """What a report says."""
        name = self.name.replace("_", " ")
        return f"{name}, reuse {self.reuse}" if self.reuse > 1 else name
