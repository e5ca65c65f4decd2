"""The proof ladder: one rung per claim that two forms of a model give the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from millstream.errors import ProofFailed

#: What helps where two forms differ that should not.
UNEQUAL = "make the two forms compute the same"


@dataclass(frozen=True)
class Rung:
    """One claim. `difference` is the largest found, `bound` what is allowed; None where no number says it."""

    claim: str
    passed: bool
    difference: float | None = None
    bound: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Ladder:
    """Rungs from the bottom up."""

    rungs: tuple[Rung, ...] = ()

    @property
    def passed(self) -> bool:
        """True when every rung holds."""
        return all(rung.passed for rung in self.rungs)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values for the report."""
        return [asdict(rung) for rung in self.rungs]


class Watcher(Protocol):
    """Who wants to see the work going on, such as a terminal."""

    def begin(self, what: str) -> None:
        """A piece of work starts."""
        ...

    def noted(self, what: str) -> None:
        """Something was decided that the user must know of."""
        ...

    def climbed(self, rung: Rung) -> None:
        """A rung was tried; it may have failed."""
        ...


class Silent:
    """A watcher that shows nothing."""

    def begin(self, what: str) -> None:
        """Nothing to show."""

    def noted(self, what: str) -> None:
        """Nothing to show."""

    def climbed(self, rung: Rung) -> None:
        """Nothing to show."""


def climb(ladder: Ladder, rungs: Sequence[Rung], watcher: Watcher, fix: str = UNEQUAL) -> Ladder:
    """The ladder with further rungs. `fix` says what helps where one fails. Raises ProofFailed."""
    for rung in rungs:
        watcher.climbed(rung)
        ladder = Ladder((*ladder.rungs, rung))
        if not rung.passed:
            raise ProofFailed(
                f"rung failed: {rung.claim}",
                why=_why(rung),
                fix=f"nothing was written; {fix}, then export again",
            )
    return ladder


def _why(rung: Rung) -> str:
    if rung.difference is None or rung.bound is None:
        return rung.detail
    return f"largest difference {rung.difference:.3g}, allowed {rung.bound:.3g}; {rung.detail}"
