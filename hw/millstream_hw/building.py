"""Building: from a bundle to the sources of a circuit, written as one folder."""

from __future__ import annotations

from millstream_hw import build as builds
from millstream_hw import planning
from millstream_hw.build import Build
from millstream_hw.engine.files import files
from millstream_hw.parts import Part
from millstream_runtime.bundle import Bundle


def build_engine(
    bundle: Bundle, part: Part, clock_mhz: float, lanes: int | None, folder: str
) -> tuple[Build, bool]:
    """The sequential engine for a bundle; the second result is False when it stood there already.

    Raises UnsupportedOperators, DoesNotFit, FileInTheWay.
    """
    plan = planning.fitting(planning.circuit_of(bundle), part, lanes)
    count = plan.image.lanes
    return builds.write(folder, bundle, "engine", part, clock_mhz, count, files(plan.image), plan.estimate)
