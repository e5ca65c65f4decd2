"""The clock of a circuit on a board: the board's own, or what a PLL makes of it; and the serial line's bits
in cycles of it.

Limits of the ECP5's PLL: Lattice, FPGA-TN-02200 and the family's data sheet, FPGA-DS-02012.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from millstream_hw.board.boards import Board
from millstream_hw.errors import ClockUnreachable

#: MHz that the PLL compares, and that its oscillator makes; the middle is the safest.
_LEAST_COMPARED, _MOST_COMPARED = Fraction(25, 8), 400
_LEAST_OSCILLATOR, _MOST_OSCILLATOR, _BEST_OSCILLATOR = 400, 800, 600
_MOST_DIVIDER = 128
_MOST_FEEDBACK = 80
#: A byte is ten bits, and its last is sampled in its middle: ends that differ by 5 % lose it. Each may have 2
#: %.
_MOST_BAUD_ERROR = 0.02
#: Fewer cycles say too little about where the middle of a bit is.
_LEAST_CLOCKS_PER_BIT = 8


@dataclass(frozen=True)
class Dividers:
    """Of a PLL: the clock made is that given times `feedback` / `reference`, the oscillator runs `output`
    times as fast."""

    reference: int
    feedback: int
    output: int


def dividers(given_mhz: float, wanted_mhz: float) -> Dividers:
    """What makes exactly one clock of another. Raises ClockUnreachable, naming the nearest that can be
    made."""
    given, wanted = _exact(given_mhz), _exact(wanted_mhz)
    found = [d for d in _all(given) if given * d.feedback / d.reference == wanted]
    if not found:
        made = sorted({given * d.feedback / d.reference for d in _all(given)}, key=lambda f: abs(f - wanted))
        raise ClockUnreachable(
            f"no PLL makes {wanted_mhz:g} MHz of {given_mhz:g} MHz",
            fix="choose --clock " + " or ".join(f"{float(clock):g}MHz" for clock in sorted(made[:2])),
        )
    return min(found, key=lambda d: (abs(wanted * d.output - _BEST_OSCILLATOR), d.reference))


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
    pll = dividers(board.clock_mhz, clock_mhz)
    # The attributes are those that ecppll writes: nextpnr derives its constraint from the dividers.
    return f"""wire clk;
wire steady;
(* FREQUENCY_PIN_CLKI="{board.clock_mhz:g}" *)
(* FREQUENCY_PIN_CLKOP="{clock_mhz:g}" *)
(* ICP_CURRENT="12" *) (* LPF_RESISTOR="8" *) (* MFG_ENABLE_FILTEROPAMP="1" *) (* MFG_GMCREF_SEL="2" *)
EHXPLLL #(
    .PLLRST_ENA("DISABLED"), .INTFB_WAKE("DISABLED"), .STDBY_ENABLE("DISABLED"), .DPHASE_SOURCE("DISABLED"),
    .OUTDIVIDER_MUXA("DIVA"), .OUTDIVIDER_MUXB("DIVB"), .OUTDIVIDER_MUXC("DIVC"), .OUTDIVIDER_MUXD("DIVD"),
    .CLKI_DIV({pll.reference}), .CLKFB_DIV({pll.feedback}),
    .CLKOP_ENABLE("ENABLED"), .CLKOP_DIV({pll.output}), .CLKOP_CPHASE({pll.output // 2}), .CLKOP_FPHASE(0),
    .FEEDBK_PATH("CLKOP")
) pll (
    .CLKI(clock), .CLKOP(clk), .CLKFB(clk), .CLKINTFB(), .LOCK(steady), .RST(1'b0), .STDBY(1'b0),
    .PHASESEL0(1'b0), .PHASESEL1(1'b0), .PHASEDIR(1'b1), .PHASESTEP(1'b1), .PHASELOADREG(1'b1),
    .PLLWAKESYNC(1'b0), .ENCLKOP(1'b0)
);"""


def _all(given: Fraction) -> Iterator[Dividers]:
    for reference in range(1, _MOST_DIVIDER + 1):
        if not _LEAST_COMPARED <= given / reference <= _MOST_COMPARED:
            continue
        for feedback in range(1, _MOST_FEEDBACK + 1):
            made = given * feedback / reference
            slowest = -(-_LEAST_OSCILLATOR // made)
            for output in range(int(slowest), min(int(_MOST_OSCILLATOR // made), _MOST_DIVIDER) + 1):
                yield Dividers(reference, feedback, output)


def _exact(mhz: float) -> Fraction:
    """The frequency that a PLL can make and that somebody wrote with a few digits."""
    return Fraction(mhz).limit_denominator(_MOST_DIVIDER)
