"""What nextpnr is told of a board with an iCE40: physical constraints (PCF)."""

from __future__ import annotations

from collections.abc import Iterator

from millstream_hw.board.board import Board


def physical_constraints(board: Board) -> str:
    """The file."""
    return "\n".join(_lines(board)) + "\n"


def _lines(board: Board) -> Iterator[str]:
    yield f"set_frequency clock {board.clock_mhz:g}"
    for name, pin in board.pins.items():
        # An iCE40 pulls no pin down.
        pull = "-pullup yes " if board.rests.get(name) else ""
        yield f"set_io {pull}{name} {pin}"
