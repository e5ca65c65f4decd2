"""What a backend cannot do with a graph: collected whole, so that one refusal tells everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def refuse(gaps: Mapping[str, Sequence[Gap]]) -> None:
    """Raise UnsupportedOperators listing every gap of every target; do nothing when there is none."""
    lines = [f"\n  - {target}: {gap}" for target, found in gaps.items() for gap in found]
    if not lines:
        return
    lacking = ", ".join(target for target, found in gaps.items() if found)
    raise UnsupportedOperators(
        f"the graph has operators that {lacking} cannot run",
        why="".join(lines),
        fix="choose another target, or change these operations in the model",
    )
