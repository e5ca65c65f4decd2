"""What is known of a board."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from millstream_hw.parts import Part, part_named


@dataclass(frozen=True)
class Board:
    """A board and the pins that a circuit behind a serial line needs. `receive_pin` takes what the host says,
    `send_pin` answers. The button resets the circuit, and gives the level `pressed` then; the LED has the
    level `lit` while there is work. `high_pins` must be held high. `documentation` is where the pins are
    published.

    `pll` writes the Verilog of what makes one clock of another, both in MHz; `constraints` what the
    place-and-route tool is told of the board.
    """

    name: str
    part: str
    pll: Callable[[float, float], str]
    constraints: Callable[[Board], str]
    clock_pin: str
    clock_mhz: float
    receive_pin: str
    send_pin: str
    button_pin: str
    pressed: int
    led_pin: str
    lit: int
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
    def facts(self) -> Mapping[str, object]:
        """What others need to know of it."""
        names = ("part", "clock_mhz", "pressed", "lit", "baud", "documentation")
        return {**{name: getattr(self, name) for name in names}, "pins": self.pins}

    @property
    def rests(self) -> Mapping[str, int]:
        """The level at which an input rests that nobody drives: the line is high, the button not pressed."""
        return {"receive": 1, "button": 1 - self.pressed}
