"""What every PLL has in common: it multiplies its clock by a fraction, and few fractions give exactly the
clock that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Protocol, TypeVar

from millstream_hw.errors import ClockUnreachable

#: A frequency that somebody wrote with a few digits is a fraction with no larger denominator.
_MOST_DENOMINATOR = 128


class Dividers(Protocol):
    """How a PLL is set."""

    @property
    def ratio(self) -> Fraction:
        """The clock made, in clocks given."""
        ...


_D = TypeVar("_D", bound=Dividers)


def exact(mhz: float) -> Fraction:
    """The frequency that was meant."""
    return Fraction(mhz).limit_denominator(_MOST_DENOMINATOR)


def making(given_mhz: float, wanted_mhz: float, possible: Callable[[Fraction], Iterable[_D]]) -> list[_D]:
    """Of the `possible` settings for a clock those that make exactly the one that is wanted. Raises
    ClockUnreachable, naming the nearest that can be made."""
    given, wanted = exact(given_mhz), exact(wanted_mhz)
    every = list(possible(given))
    found = [dividers for dividers in every if given * dividers.ratio == wanted]
    if not found:
        made = sorted({given * dividers.ratio for dividers in every}, key=lambda clock: abs(clock - wanted))
        raise ClockUnreachable(
            f"no PLL makes {wanted_mhz:g} MHz of {given_mhz:g} MHz",
            fix="choose --clock " + " or ".join(f"{float(clock):g}MHz" for clock in sorted(made[:2])),
        )
    return found
