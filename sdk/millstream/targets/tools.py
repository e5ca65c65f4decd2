"""What a compile half needs from the machine that it runs on."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.errors import ToolMissing


def require(what: str, lacking: Sequence[str]) -> None:
    """Go on only when nothing is lacking: `lacking` are the lines that install what `what` needs here.

    Raises ToolMissing with all of them.
    """
    if lacking:
        raise ToolMissing(f"{what} cannot be compiled here", fix="; ".join(lacking))
