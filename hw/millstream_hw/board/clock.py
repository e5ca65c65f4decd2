"""The clock of a circuit on a board: the board's own, or what its PLL makes of it; and the serial line's bits
in cycles of it."""

from __future__ import annotations

from millstream_hw.board.board import Board
from millstream_hw.errors import ClockUnreachable

#: A byte is ten bits, and its last is sampled in its middle: ends that differ by 5 % lose it. Each may have 2
#: %.
_MOST_BAUD_ERROR = 0.02
#: Fewer cycles say too little about where the middle of a bit is.
_LEAST_CLOCKS_PER_BIT = 8


def clocks_per_bit(clock_mhz: float, baud: int) -> int:
    """Cycles of a bit. Raises ClockUnreachable where a whole number of them is no bit of that length."""
    exact = clock_mhz * 1e6 / baud
    whole = round(exact)
    if whole < _LEAST_CLOCKS_PER_BIT or abs(exact / whole - 1) > _MOST_BAUD_ERROR:
        raise ClockUnreachable(
            f"{clock_mhz:g} MHz make no serial line of {baud:,} baud",
            why=f"a bit would last {exact:.2f} cycles",
            fix=f"choose a --clock that is a multiple of {baud / 1e6:g} MHz, "
            f"{_LEAST_CLOCKS_PER_BIT * baud / 1e6:g} MHz at least",
        )
    return whole


def source(board: Board, clock_mhz: float) -> str:
    """Verilog of what drives `clk` from `clock`; `steady` says that `clk` can be relied on.

    Raises ClockUnreachable.
    """
    if clock_mhz == board.clock_mhz:
        return "wire clk = clock;\nwire steady = 1'b1;"
    return board.pll(board.clock_mhz, clock_mhz)
