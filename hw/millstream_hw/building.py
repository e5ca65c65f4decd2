"""Building: from a bundle to the sources of a circuit, written as one folder."""

from __future__ import annotations

from millstream_hw import build as builds
from millstream_hw import planning
from millstream_hw.build import Build
from millstream_hw.parts import Part
from millstream_runtime.bundle import Bundle


def build(
    bundle: Bundle, part: Part, clock_mhz: float, road: str, lanes: int | None, folder: str
) -> tuple[Build, bool]:
    """The circuit of a bundle by one road; the second result is False when it stood there already.

    Raises UnsupportedOperators, DoesNotFit, FileInTheWay, UsageError.
    """
    plan = planning.fitting(planning.circuit_of(bundle), part, road, lanes, clock_mhz)
    return builds.write(folder, bundle, plan, part, clock_mhz)
