"""The PLL of an ECP5. Its limits: Lattice, FPGA-TN-02200 and the family's data sheet, FPGA-DS-02012."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from millstream_hw.board.pll import exact, making

#: MHz that the PLL compares, and that its oscillator makes; the middle is the safest.
_LEAST_COMPARED, _MOST_COMPARED = Fraction(25, 8), 400
_LEAST_OSCILLATOR, _MOST_OSCILLATOR, _BEST_OSCILLATOR = 400, 800, 600
_MOST_DIVIDER = 128
_MOST_FEEDBACK = 80


@dataclass(frozen=True)
class Dividers:
    """The clock made is that given times `feedback` / `reference`, the oscillator runs `output` times as
    fast."""

    reference: int
    feedback: int
    output: int

    @property
    def ratio(self) -> Fraction:
        """See `pll.Dividers.ratio`."""
        return Fraction(self.feedback, self.reference)


def dividers(given_mhz: float, wanted_mhz: float) -> Dividers:
    """What makes exactly one clock of another. Raises ClockUnreachable."""
    wanted = exact(wanted_mhz)
    return min(
        making(given_mhz, wanted_mhz, _possible),
        key=lambda d: (abs(wanted * d.output - _BEST_OSCILLATOR), d.reference),
    )


def source(given_mhz: float, wanted_mhz: float) -> str:
    """Verilog of the PLL between `clock` and `clk`, which can be relied on while `steady`. Raises
    ClockUnreachable."""
    pll = dividers(given_mhz, wanted_mhz)
    # The attributes are those that ecppll writes: nextpnr derives its constraint from the dividers.
    return f"""wire clk;
wire steady;
(* FREQUENCY_PIN_CLKI="{given_mhz:g}" *)
(* FREQUENCY_PIN_CLKOP="{wanted_mhz:g}" *)
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


def _possible(given: Fraction) -> Iterator[Dividers]:
    for reference in range(1, _MOST_DIVIDER + 1):
        if not _LEAST_COMPARED <= given / reference <= _MOST_COMPARED:
            continue
        for feedback in range(1, _MOST_FEEDBACK + 1):
            made = given * feedback / reference
            slowest = -(-_LEAST_OSCILLATOR // made)
            for output in range(int(slowest), min(int(_MOST_OSCILLATOR // made), _MOST_DIVIDER) + 1):
                yield Dividers(reference, feedback, output)
