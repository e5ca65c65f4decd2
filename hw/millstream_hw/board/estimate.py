"""What a board adds around the engine, as seen after Yosys 0.23 and nextpnr 0.11.1 with a GRU of 37.

The words of a frame and of a load go to the engine as they come, so that none of it is memory.
"""

from __future__ import annotations

from millstream_hw.board.board import Board
from millstream_hw.estimate import NOTHING, Estimate

#: The serial line, its protocol and the reset, by family.
_LINE = {"ecp5": Estimate(tables=375, registers=141), "ice40": Estimate(tables=350, registers=141)}
#: The loader, which only those parts have whose memory of constants wakes up empty.
_LOADER = Estimate(tables=250, registers=86)


def around(board: Board) -> Estimate:
    """Logic tables and registers of everything on the part that is not the engine."""
    return _LINE[board.target.family] + (_LOADER if board.target.sprams else NOTHING)
