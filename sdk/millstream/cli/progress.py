"""An export as it goes on: what runs now, and each rung of the ladder as it is climbed."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from millstream.cli.output import FAILED, OK
from millstream.ladder import Rung

_MARK_WIDTH = 8
_CLAIM_WIDTH = 52


class Progress:
    """A `millstream.ladder.Watcher`. What runs now is shown on a terminal only, all else always."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("")

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status.stop()

    def begin(self, what: str) -> None:
        """Show what runs now."""
        self._status.update(Text(what))

    def noted(self, what: str) -> None:
        """Print a note."""
        self._console.print(Text("note".ljust(_MARK_WIDTH), style="yellow").append(what, style="default"))

    def climbed(self, rung: Rung) -> None:
        """Print the rung, with its difference and bound where it has them."""
        self._console.print(rung_line(rung))


def rung_line(rung: Rung) -> Text:
    """Mark, claim, difference and bound, detail."""
    line = (OK if rung.passed else FAILED).copy()
    line.pad_right(_MARK_WIDTH - len(line))
    line.append(rung.claim.ljust(_CLAIM_WIDTH), style="default")
    if rung.difference is not None and rung.bound is not None:
        sign = "<=" if rung.passed else "> "
        line.append(f"  {rung.difference:.1e} {sign} {rung.bound:.1e}", style="default")
    line.append(f"  {rung.detail}", style="dim")
    return line
