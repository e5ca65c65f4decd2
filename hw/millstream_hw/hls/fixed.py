"""Fixed-point types of high-level synthesis: what a value is before hls4ml or a C++ compiler has seen it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fixed:
    """`bits` bits, of which `fraction` lie behind the binary point: more than `bits`, or less than none, is
    allowed. A type that `rounds` takes halves up and saturates, as every rounding of the golden model does;
    any other holds its values exactly."""

    bits: int
    fraction: int = 0
    signed: bool = True
    rounds: bool = False

    @property
    def modes(self) -> tuple[str, str]:
        """What happens below the last bit and above the first."""
        return ("RND", "SAT") if self.rounds else ("TRN", "WRAP")

    @property
    def lowest(self) -> int:
        """The smallest value, in units of the last bit."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The largest value, in units of the last bit."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def cpp(self) -> str:
        """The type as C++ writes it."""
        name = "ap_fixed" if self.signed else "ap_ufixed"
        below, above = self.modes
        return f"{name}<{self.bits},{self.bits - self.fraction},AP_{below},AP_{above},0>"


#: An activation: the integer of the golden model.
WORD = Fixed(16)
#: What a rounding makes that has no limits of its own.
ROUNDED = Fixed(16, rounds=True)


def limited(low: int, high: int) -> Fixed | None:
    """What a rounding makes within limits: any word, or from 0 to all ones (after a ReLU, a spike).

    None where no type has such limits.
    """
    if (low, high) == (-(1 << 15), (1 << 15) - 1):
        return ROUNDED
    ones = low == 0 and 0 < high < 1 << 15 and high & (high + 1) == 0
    return Fixed(high.bit_length(), signed=False, rounds=True) if ones else None


def holding(largest: int, fraction: int) -> Fixed:
    """The narrowest type of integers within +-largest, times 2^-fraction."""
    return Fixed(max(2, int(largest).bit_length() + 1), fraction)
