"""What nextpnr is told of a board with an ECP5: the preferences (LPF) of Lattice."""

from __future__ import annotations

from collections.abc import Iterator

from millstream_hw.board.board import Board


def preferences(board: Board) -> str:
    """The file."""
    return "\n".join(_lines(board)) + "\n"


def _lines(board: Board) -> Iterator[str]:
    yield f'FREQUENCY PORT "clock" {board.clock_mhz:g} MHZ;'
    given = {"clock": "PULLMODE=NONE"}
    given |= {name: f"PULLMODE={('DOWN', 'UP')[level]}" for name, level in board.rests.items()}
    for name, pin in board.pins.items():
        yield f'LOCATE COMP "{name}" SITE "{pin}";'
        yield f'IOBUF PORT "{name}" IO_TYPE=LVCMOS33 {given.get(name, "DRIVE=4")};'
