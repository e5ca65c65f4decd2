"""Logic cut into stages with registers between them, so that a clock can be faster than a whole step.

A step waits for its states, so one frame is under way at a time: more stages raise the clock, and with it the
rate of words, but bring no step sooner.
"""

from __future__ import annotations

from da4ml.trace.pipeline import to_pipeline
from da4ml.types import CombLogic

from millstream_hw.parts import Part

#: What one level of da4ml's logic, an adder or a comparison, takes with the wires to it, in ns, by family.
#: Only that of ecp5 was seen.
LEVEL_NS = {"ecp5": 3.0, "ice40": 10.0, "xilinx": 3.0}


def stages(logic: CombLogic, part: Part, clock_mhz: float) -> tuple[CombLogic, ...]:
    """The logic in as few stages as let each end within a cycle, if da4ml's levels take what they usually
    take; one level a stage at the most."""
    levels = max(int(1000 / clock_mhz / LEVEL_NS[part.family]), 1)
    return cut(logic, levels)


def cut(logic: CombLogic, levels: int) -> tuple[CombLogic, ...]:
    """The logic in stages of so many levels of it; a table may take more."""
    if levels > max(logic.out_latency):
        return (logic,)
    return to_pipeline(logic, levels, retiming=False, verbose=False).solutions
