"""Tables of 1/x and 1/sqrt(x) for arguments of every magnitude.

A table with bins of one width has few of them where such a function is steep. Here the argument, an exact
integer e > 0, is brought between 1 and 4 by a power of four first, as libraries of floating point do:

    e = m 4^q,   1 <= m < 4          e^-1/2 = m^-1/2 2^-q          e^-1 = m^-1 4^-q

so that one table over m serves all q, with the same relative accuracy. A circuit finds q from the place of
the leading one and shifts; an ONNX graph counts the powers of four that e reaches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from millstream.quantize.fixed_point.widths import WORD, highest

HIGHEST = highest(WORD)
#: Bins from one power of two of m to the next are 2^9 or twice as many: 1,536 from 1 to 4, of 2,048 in all.
MANTISSA_BITS = 9
TABLE = 4 << MANTISSA_BITS
#: Bits of a result that a table entry lacks: each entry counts 4 at the lowest level.
SPARE_BITS = 2
#: Integers are multiplied by this before they are inverted, so that none has to be shifted to the left.
WIDENING = 1 << (MANTISSA_BITS + 1)


@dataclass(frozen=True)
class Curve:
    """y = min(floor(table[bin] * shares[level] + 1/2), 32767) with bin = floor(e * narrowings[level]), at
    most 2,047 and at least 0, and level = how many of `levels` e reaches.

    `table` (2048,) int16; `levels` (n,) int64, a power of four and those that follow it; `narrowings` and
    `shares` (n + 1,) float64, powers of two. The bins below 512 are met at the lowest level only.
    """

    table: np.ndarray
    levels: np.ndarray
    narrowings: np.ndarray
    shares: np.ndarray


def curve(exponent: float, factor: float, unit: float, fraction: int, largest: int) -> Curve:
    """The table of factor * x^exponent, exponent -1 or -1/2, where the integer 1 stands for x = `unit` and no
    integer is larger than `largest`; results have `fraction` fraction bits.

    The lowest level is the first at which the entries fit into 16 bits: below it a result is at its limit.
    """

    def entry(integers: np.ndarray) -> np.ndarray:
        return factor * (unit * integers) ** exponent * 2.0 ** (fraction - SPARE_BITS)

    lowest = (MANTISSA_BITS + 1) // 2
    while entry(np.array(4.0**lowest)) > HIGHEST:
        lowest += 1
    count = 1
    while 4 ** (lowest + count + 1) <= largest:
        count += 1
    level = np.arange(count + 1)
    middles = (np.arange(TABLE) + 0.5) * 2.0 ** (2 * lowest - MANTISSA_BITS)
    return Curve(
        table=np.floor(np.minimum(entry(middles), HIGHEST) + 0.5).astype(np.int16),
        levels=np.array([4 ** (lowest + n) for n in range(1, count + 1)], np.int64),
        narrowings=2.0 ** (MANTISSA_BITS - 2 * (lowest + level)),
        shares=2.0 ** (SPARE_BITS + 2 * exponent * level),
    )
