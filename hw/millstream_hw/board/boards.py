"""The boards that are known: the FPGA of each, the pins that a circuit behind a serial line needs, and what
the place-and-route tool is told of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from millstream_hw.errors import UnknownBoard
from millstream_hw.parts import Part, part_named


@dataclass(frozen=True)
class Board:
    """A board with an ECP5. `receive_pin` takes what the host says, `send_pin` answers. The button, high
    while it is pressed, resets the circuit; the LED is lit while it has work. `high_pins` must be held high.
    `documentation` is where the pins are published."""

    name: str
    part: str
    clock_pin: str
    clock_mhz: float
    receive_pin: str
    send_pin: str
    button_pin: str
    led_pin: str
    baud: int
    documentation: str
    high_pins: tuple[str, ...] = ()

    @property
    def target(self) -> Part:
        """The FPGA."""
        return part_named(self.part)

    @property
    def pins(self) -> Mapping[str, str]:
        """The pin of each port of the board's Verilog, by name."""
        named = {
            "clock": self.clock_pin,
            "receive": self.receive_pin,
            "send": self.send_pin,
            "button": self.button_pin,
            "led": self.led_pin,
        }
        return {**named, **{f"high_{place}": pin for place, pin in enumerate(self.high_pins)}}

    @property
    def constraints(self) -> str:
        """What nextpnr is told of the pins and of the clock, in the preferences (LPF) of Lattice."""
        return "\n".join(_preferences(self)) + "\n"


def _preferences(board: Board) -> Iterator[str]:
    yield f'FREQUENCY PORT "clock" {board.clock_mhz:g} MHZ;'
    for name, pin in board.pins.items():
        # An input that nobody drives rests: the line is high, the button is not pressed.
        rest = "NONE" if name == "clock" else "UP" if name == "receive" else "DOWN"
        given = f"PULLMODE={rest}" if name in ("clock", "receive", "button") else "DRIVE=4"
        yield f'LOCATE COMP "{name}" SITE "{pin}";'
        yield f'IOBUF PORT "{name}" IO_TYPE=LVCMOS33 {given};'


BOARDS: Mapping[str, Board] = {
    board.name: board
    for board in (
        Board(
            name="ulx3s",
            part="lfe5u-85f",
            clock_pin="G2",
            clock_mhz=25.0,
            receive_pin="M1",
            send_pin="L4",
            button_pin="R1",  # FIRE1
            led_pin="B2",
            baud=2_000_000,
            documentation="https://github.com/emard/ulx3s/blob/master/doc/constraints/ulx3s_v20.lpf",
            high_pins=("L2",),  # wifi_gpio0: some firmware of the ESP32 takes the FPGA away when it is low
        ),
    )
}


def board_named(name: str) -> Board:
    """The board of that name. Raises UnknownBoard naming those that are known."""
    if name not in BOARDS:
        raise UnknownBoard(f"no board is called {name!r}", fix="use one of " + ", ".join(BOARDS))
    return BOARDS[name]
