"""The boards that are known."""

from __future__ import annotations

from collections.abc import Mapping

from millstream_hw.board.board import Board
from millstream_hw.board.ecp5 import pll as ecp5_pll
from millstream_hw.board.ecp5.preferences import preferences
from millstream_hw.board.ice40 import pll as ice40_pll
from millstream_hw.board.ice40.physical import physical_constraints
from millstream_hw.errors import UnknownBoard

BOARDS: Mapping[str, Board] = {
    board.name: board
    for board in (
        Board(
            name="ulx3s",
            part="lfe5u-85f",
            pll=ecp5_pll.source,
            constraints=preferences,
            clock_pin="G2",
            clock_mhz=25.0,
            receive_pin="M1",
            send_pin="L4",
            button_pin="R1",  # FIRE1
            pressed=1,
            led_pin="B2",
            lit=1,
            baud=2_000_000,
            documentation="https://github.com/emard/ulx3s/blob/master/doc/constraints/ulx3s_v20.lpf",
            high_pins=("L2",),  # wifi_gpio0: some firmware of the ESP32 takes the FPGA away when it is low
        ),
        Board(
            name="icebreaker",
            part="ice40up5k",
            pll=ice40_pll.source,
            constraints=physical_constraints,
            clock_pin="35",
            clock_mhz=12.0,
            receive_pin="6",
            send_pin="9",
            button_pin="10",  # BTN_N
            pressed=0,
            led_pin="37",  # LEDG_N
            lit=0,
            baud=2_000_000,
            documentation="https://github.com/icebreaker-fpga/icebreaker-verilog-examples/blob/main/icebreaker/"
            "icebreaker.pcf",
        ),
    )
}


def board_named(name: str) -> Board:
    """The board of that name. Raises UnknownBoard naming those that are known."""
    if name not in BOARDS:
        raise UnknownBoard(f"no board is called {name!r}", fix="use one of " + ", ".join(BOARDS))
    return BOARDS[name]
