"""What reparameterizing did: every rewrite that was applied, with its proof and gain, and every one not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Of one frame and one stream: numbers that are stored, and multiplications (MACs) that are done."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Applied:
    """One rewrite at one place.

    `error` is the largest difference of any output from what the module gave before this rewrite,
    relative to the largest magnitude of that output, on real frames.
    """

    rewrite: str
    where: str
    error: float
    before: Cost
    after: Cost


@dataclass(frozen=True)
class LeftAlone:
    """A place that a rewrite is meant for, and the precondition that does not hold there."""

    rewrite: str
    where: str
    why: str


@dataclass(frozen=True)
class Report:
    """All that was tried, in order. `error` is the largest relative difference of last from first form."""

    applied: tuple[Applied, ...]
    left_alone: tuple[LeftAlone, ...]
    error: float
    before: Cost
    after: Cost
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for the bundle's report."""
        return asdict(self)

    def then(self, later: Report) -> Report:
        """This report and that of rewrites which started where these ended."""
        return Report(
            (*self.applied, *later.applied),
            (*self.left_alone, *later.left_alone),
            max(self.error, later.error),
            self.before,
            later.after,
            (*self.notes, *later.notes),
        )
