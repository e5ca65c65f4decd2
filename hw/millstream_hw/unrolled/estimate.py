"""What an unrolled circuit takes of a part."""

from __future__ import annotations

from collections.abc import Sequence

from da4ml.types import CombLogic

from millstream_hw.circuit import Circuit
from millstream_hw.estimate import Estimate
from millstream_hw.parts import Part

#: Logic tables for each unit of da4ml's cost, by family: seen after yosys with two circuits for ecp5 (1.9 and
#: 2.1) and one for ice40. da4ml counts one for each bit of an adder.
_TABLES = {"ecp5": 2.0, "ice40": 1.3, "xilinx": 1.0}
#: Registers of the top that are neither words nor logic.
_CONTROL = 18


def estimate(circuit: Circuit, stages: Sequence[CombLogic], part: Part) -> Estimate:
    """Cycles are exact: a word in or out takes one, and so does each stage."""
    inputs, outputs = (sum(port.size for port in ports) for ports in (circuit.inputs, circuit.outputs))
    # The first stage is given the inputs and states, each later one what the registers before it hold.
    held = sum(int(stage.inp_kifs.sum()) for stage in stages)
    return Estimate(
        tables=round(sum(stage.cost for stage in stages) * _TABLES[part.family]),
        registers=held + 16 * outputs + _CONTROL,
        cycles=inputs + len(stages) + outputs,
    )
