"""What a backend cannot do with a graph: collected whole, so that one refusal tells everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.errors import UnsupportedOperators


@dataclass(frozen=True)
class Gap:
    """One unsupported node: its operator, its name, the module it came from, why, and what would help."""

    operator: str
    node: str
    origin: str
    why: str
    help: str = ""

    def __str__(self) -> str:
        place = f" from {self.origin}" if self.origin else ""
        remedy = f" ({self.help})" if self.help else ""
        return f"{self.operator} at node {self.node}{place}: {self.why}{remedy}"


def refuse(gaps: Sequence[Gap], target: str) -> None:
    """Raise UnsupportedOperators listing every gap; do nothing when there is none."""
    if not gaps:
        return
    listing = "".join(f"\n  - {gap}" for gap in gaps)
    raise UnsupportedOperators(
        f"target {target} cannot run {len(gaps)} node{'s' if len(gaps) > 1 else ''} of this graph",
        why=listing,
        fix="choose another target, or change these operations in the model",
    )
