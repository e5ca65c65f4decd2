"""Which road fits a model on a part, told before anything is built."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from millstream.graph import StepGraph
from millstream_hw import circuit
from millstream_hw.circuit import Circuit
from millstream_hw.engine.compile import compile_circuit
from millstream_hw.engine.estimate import estimate
from millstream_hw.engine.image import Image
from millstream_hw.errors import DoesNotFit
from millstream_hw.estimate import Estimate
from millstream_hw.parts import Part
from millstream_runtime.bundle import Bundle
from millstream_runtime.spec import STEP

#: Lanes that an engine may have, the fastest first.
LANES = (32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Plan:
    """An engine for a part, and what it takes; `overflows` is empty when it fits."""

    image: Image
    estimate: Estimate
    overflows: tuple[str, ...]


def step_graph(bundle: Bundle) -> StepGraph:
    """The step graph of a bundle."""
    return StepGraph(onnx.load_from_string(bundle.members[STEP]))


def circuit_of(bundle: Bundle) -> Circuit:
    """The circuit of a bundle in fixed point. Raises UnsupportedOperators."""
    return circuit.read(step_graph(bundle), bundle.initial())


def plan_engine(found: Circuit, part: Part, lanes: int | None = None) -> Plan:
    """The engine with the most lanes that fits, or with `lanes`; the smallest one when none fits."""
    for count in (lanes,) if lanes else LANES:
        image = compile_circuit(found, count)
        needs = estimate(image, part)
        plan = Plan(image, needs, tuple(needs.overflows(part)))
        if not plan.overflows:
            break
    return plan


def fitting(found: Circuit, part: Part, lanes: int | None = None) -> Plan:
    """`plan_engine`. Raises DoesNotFit naming everything that overflows."""
    plan = plan_engine(found, part, lanes)
    if plan.overflows:
        raise DoesNotFit(
            f"the model does not fit {part.name}",
            why="it needs " + "; ".join(plan.overflows),
            fix="choose a larger part, or a smaller model",
        )
    return plan
