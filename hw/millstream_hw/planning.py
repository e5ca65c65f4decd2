"""Which road fits a model on a part, told before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import onnx

from millstream.errors import UsageError
from millstream.gap import Gap, refuse
from millstream.graph import StepGraph
from millstream_hw import circuit
from millstream_hw.circuit import Circuit
from millstream_hw.engine import compile as compiling
from millstream_hw.engine import files as engine_files
from millstream_hw.engine.estimate import estimate, shares
from millstream_hw.errors import DoesNotFit
from millstream_hw.estimate import NOTHING, Estimate, Share
from millstream_hw.parts import Part
from millstream_runtime.bundle import Bundle
from millstream_runtime.spec import STEP

ENGINE, UNROLLED, HLS = "engine", "da4ml", "hls4ml"
ROADS = (ENGINE, UNROLLED, HLS)
#: Lanes that an engine may have, the fastest first.
LANES = (32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Plan:
    """A road to a part and what it takes. `overflows` is empty when it fits; `files` writes the sources.

    `gaps` are operations that the road cannot compute; then there is no estimate. `lanes` is 0 where a road
    has none. `shares` is the estimate layer by layer, empty where a road melts its layers into one.
    """

    road: str
    lanes: int
    estimate: Estimate | None
    overflows: tuple[str, ...]
    gaps: tuple[Gap, ...]
    files: Callable[[], Mapping[str, bytes]]
    shares: tuple[Share, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it can be built for the part."""
        return not self.gaps and not self.overflows


def step_graph(bundle: Bundle) -> StepGraph:
    """The step graph of a bundle."""
    return StepGraph(onnx.load_from_string(bundle.members[STEP]))


def circuit_of(bundle: Bundle) -> Circuit:
    """The circuit of a bundle in fixed point. Raises UnsupportedOperators."""
    return circuit.read(step_graph(bundle), bundle.initial())


def stateless_circuit_of(bundle: Bundle) -> Circuit:
    """`circuit_of`, but that the states come in with every frame and go out with every answer: one circuit
    serves all the streams whose states somebody else keeps. Raises UnsupportedOperators."""
    following = {state.name: state.next_name for state in bundle.manifest.model.states}
    return circuit.with_states_on_the_port(circuit_of(bundle), following)


def plan(found: Circuit, part: Part, road: str, lanes: int | None = None, clock_mhz: float = 0) -> Plan:
    """How a circuit takes a road. The engine gets the most lanes that fit, or `lanes`; hls4ml the most
    multipliers that fit, da4ml the stages that the clock asks for. The clock is the part's own when it is 0.

    Raises UsageError for a road that does not exist, or lanes for a road that has none.
    """
    if road == ENGINE:
        return engine(found, part, lanes)
    if road not in ROADS:
        raise UsageError(f"no road is called {road!r}", fix="use one of " + ", ".join(ROADS))
    if lanes:
        raise UsageError("only the engine has lanes", fix="drop --lanes, or use --road engine")
    clock_mhz = clock_mhz or part.clock_mhz
    return _unrolled(found, part, clock_mhz) if road == UNROLLED else _hls(found, part, clock_mhz)


def fitting(found: Circuit, part: Part, road: str, lanes: int | None = None, clock_mhz: float = 0) -> Plan:
    """`plan`. Raises UnsupportedOperators, and DoesNotFit naming everything that overflows."""
    return fitted(plan(found, part, road, lanes, clock_mhz), part.name)


def fitted(made: Plan, place: str) -> Plan:
    """A plan, as it is, that fits a place. Raises UnsupportedOperators, and DoesNotFit naming everything that
    overflows."""
    refuse({made.road: made.gaps})
    if made.overflows:
        raise DoesNotFit(
            f"the model does not fit {place}",
            why="it needs " + "; ".join(made.overflows),
            fix="choose a larger part, or a smaller model",
        )
    return made


def engine(found: Circuit, part: Part, lanes: int | None = None, around: Estimate = NOTHING) -> Plan:
    """An engine with the most lanes that fit, or `lanes`, on a part that has room for what is `around` it."""
    lacking = tuple(compiling.gaps(found))
    if lacking:
        return Plan(ENGINE, 0, None, (), lacking, dict)
    options = [_engine_of(found, part, count, around) for count in ((lanes,) if lanes else LANES)]
    return next((option for option in options if option.fits), options[-1])


def _engine_of(found: Circuit, part: Part, lanes: int, around: Estimate) -> Plan:
    image = compiling.compile_circuit(found, lanes)
    needs = estimate(image, part) + around
    over, write = tuple(needs.overflows(part)), partial(engine_files.files, image, part.sprams > 0)
    return Plan(ENGINE, lanes, needs, over, (), write, shares(image, found))


def _unrolled(found: Circuit, part: Part, clock_mhz: float) -> Plan:
    from millstream_hw.unrolled import estimate as unrolled_estimate  # da4ml takes seconds to load
    from millstream_hw.unrolled import files, stages, trace

    lacking = tuple(trace.gaps(found))
    if lacking:
        return Plan(UNROLLED, 0, None, (), lacking, dict)
    logic = trace.trace(found)
    cut = stages.stages(logic, part, clock_mhz)
    needs = unrolled_estimate.estimate(found, cut, part)
    return Plan(UNROLLED, 0, needs, tuple(needs.overflows(part)), (), partial(files.files, found, cut))


def _hls(found: Circuit, part: Part, clock_mhz: float) -> Plan:
    from millstream_hw.hls import adders, layers, sharing  # da4ml takes its time to load
    from millstream_hw.hls import estimate as hls_estimate

    lacking = list(layers.gaps(found))
    if not part.device:
        lacking.append(Gap("part", part.name, "", "no HLS tool serves it", "use --road engine"))
    if lacking:
        return Plan(HLS, 0, None, (), tuple(lacking), dict)
    network = layers.network(found)
    wired = adders.adders(network)
    for target in sharing.TARGETS:
        strategies = sharing.mixed(network, target, wired, part.multipliers)
        needs = hls_estimate.estimate(network, strategies, part)
        over = tuple(needs.overflows(part))
        if not over:
            break
    write = partial(_hls_files, found, network, strategies, part.device, clock_mhz)
    return Plan(HLS, 0, needs, over, (), write, hls_estimate.shares(network, strategies))


def _hls_files(found: Circuit, *rest: Any) -> Mapping[str, bytes]:
    from millstream_hw.hls import files  # hls4ml takes seconds to load

    return files.files(found, *rest)
