"""The boards that are known: the FPGA of each, the pins that a circuit behind a serial line needs, and what
the place-and-route tool is told of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from millstream_hw.errors import UnknownBoard
from millstream_hw.parts import Part, part_named


@dataclass(frozen=True)
class Board:
    """`receive_pin` takes what the host says, `send_pin` answers. The button resets the circuit; the LED is
    lit while it has work; both speak when they are low where `active_low` says so. `high_pins` must be held
    high. `circuit_mhz` is what a circuit runs at where nobody says otherwise. `documentation` is where the
    pins are published."""

    name: str
    part: str
    clock_pin: str
    clock_mhz: float
    receive_pin: str
    send_pin: str
    button_pin: str
    led_pin: str
    active_low: bool
    circuit_mhz: float
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
        """What nextpnr is told of the pins and of the clock: LPF for an ECP5, PCF for an iCE40."""
        lines = _physical if self.target.family == "ice40" else _preferences
        return "\n".join(lines(self)) + "\n"


def _physical(board: Board) -> Iterator[str]:
    yield f"set_frequency clock {board.clock_mhz:g}"
    for name, pin in board.pins.items():
        yield f"set_io {name} {pin}"


def _preferences(board: Board) -> Iterator[str]:
    yield f'FREQUENCY PORT "clock" {board.clock_mhz:g} MHZ;'
    for name, pin in board.pins.items():
        # An input that nobody drives rests: the line is high, the button is not pressed.
        rest = "NONE" if name == "clock" else "UP" if name == "receive" or board.active_low else "DOWN"
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
            active_low=False,
            circuit_mhz=100.0,
            baud=2_000_000,
            documentation="https://github.com/emard/ulx3s/blob/master/doc/constraints/ulx3s_v20.lpf",
            high_pins=("L2",),  # wifi_gpio0: some firmware of the ESP32 takes the FPGA away when it is low
        ),
        Board(
            name="icebreaker",
            part="ice40up5k",
            clock_pin="35",
            clock_mhz=12.0,
            receive_pin="6",
            send_pin="9",
            button_pin="10",
            led_pin="11",
            active_low=True,
            circuit_mhz=12.0,
            baud=1_000_000,
            documentation="https://github.com/icebreaker-fpga/icebreaker-verilog-examples/blob/main/icebreaker/icebreaker.pcf",
        ),
    )
}


def board_named(name: str) -> Board:
    """The board of that name. Raises UnknownBoard naming those that are known."""
    if name not in BOARDS:
        raise UnknownBoard(f"no board is called {name!r}", fix="use one of " + ", ".join(BOARDS))
    return BOARDS[name]
