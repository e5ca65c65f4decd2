"""The PLL of an iCE40, whose clock comes from a pin. Its limits: Lattice, FPGA-TN-02052, and icepll of
IceStorm, which knows that the feedback divider has a bit more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from millstream_hw.board.pll import exact, making

#: MHz that the PLL compares, that its oscillator makes, and that come out.
_LEAST_COMPARED, _MOST_COMPARED = 10, 133
_LEAST_OSCILLATOR, _MOST_OSCILLATOR = 533, 1066
_LEAST_OUTPUT, _MOST_OUTPUT = 16, 275
_MOST_REFERENCE, _MOST_FEEDBACK = 16, 128
_OUTPUTS = tuple(2**power for power in range(1, 7))
#: MHz compared from which the loop needs its next filter.
_FILTERS = (17, 26, 44, 66, 101)


@dataclass(frozen=True)
class Dividers:
    """The oscillator makes `feedback` / `reference` of the clock given, and `output`, a power of two, divides
    that."""

    reference: int
    feedback: int
    output: int

    @property
    def ratio(self) -> Fraction:
        """See `pll.Dividers.ratio`."""
        return Fraction(self.feedback, self.reference * self.output)


def dividers(given_mhz: float, wanted_mhz: float) -> Dividers:
    """What makes exactly one clock of another. Raises ClockUnreachable."""
    return min(making(given_mhz, wanted_mhz, _possible), key=lambda d: (d.reference, d.feedback))


def source(given_mhz: float, wanted_mhz: float) -> str:
    """Verilog of the PLL between `clock` and `clk`, which can be relied on while `steady`. Raises
    ClockUnreachable."""
    pll = dividers(given_mhz, wanted_mhz)
    compared = exact(given_mhz) / pll.reference
    filters = 1 + sum(compared >= least for least in _FILTERS)
    return f"""wire clk;
wire steady;
SB_PLL40_PAD #(
    .FEEDBACK_PATH("SIMPLE"), .DIVR(4'd{pll.reference - 1}), .DIVF(7'd{pll.feedback - 1}),
    .DIVQ(3'd{pll.output.bit_length() - 1}), .FILTER_RANGE(3'd{filters})
) pll (
    .PACKAGEPIN(clock), .PLLOUTGLOBAL(clk), .LOCK(steady), .RESETB(1'b1), .BYPASS(1'b0)
);"""


def _possible(given: Fraction) -> Iterator[Dividers]:
    for reference in range(1, _MOST_REFERENCE + 1):
        if not _LEAST_COMPARED <= given / reference <= _MOST_COMPARED:
            continue
        for feedback in range(1, _MOST_FEEDBACK + 1):
            oscillator = given * feedback / reference
            if not _LEAST_OSCILLATOR <= oscillator <= _MOST_OSCILLATOR:
                continue
            for output in _OUTPUTS:
                if _LEAST_OUTPUT <= oscillator / output <= _MOST_OUTPUT:
                    yield Dividers(reference, feedback, output)
