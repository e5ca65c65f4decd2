"""From a traced step to the one that is exported: rewritten, quantized, states narrowed. Each form is held
against the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from millstream import prove, prove_quantized, reference
from millstream.budgeted import Allowance, Chosen, Timer, choose
from millstream.describing import About, model_spec, with_states
from millstream.fallback import settle
from millstream.float16 import loosened
from millstream.graph import StepGraph
from millstream.ladder import UNEQUAL, Ladder, Rung, Watcher, climb
from millstream.narrowed import Narrowed, narrow
from millstream.protocol import Streamable
from millstream.quantize import FORMATS, Format, Quantized, quantize
from millstream.quantize.calibration import Calibration, spread
from millstream.quantize.layers import layers, to_blame
from millstream.quantize.states.choosing import Chosen as ChosenStates
from millstream.quantize.states.choosing import choose as choose_states
from millstream.quantize.states.storage import Storage
from millstream.quantize.states.storages import STORAGES
from millstream.quantize.states.writing import narrowed, narrowed_initial, narrowed_spec
from millstream.reparameterize import BOUND, Report
from millstream.reparameterize.graph import rewritten_graph
from millstream.sequences import Sequences
from millstream.step_time import step_microseconds
from millstream.targets import Contract, Target
from millstream_runtime.core import Core
from millstream_runtime.spec import ModelSpec

#: Targets that run on the machine that exports; the last one is always there.
_FOR_THIS_MACHINE = ("cpu", "numba", "relax", "onnxruntime")

#: What helps where rounding costs too much.
COARSE = (
    "choose a finer format, let millstream quantize search one within a --budget, or train with the rounding"
)


@dataclass(frozen=True)
class Wishes:
    """How the step may be changed: by which format, or what a search for one may lose; how far states in
    fewer bytes may drift, None where all stay float32, and what they may be kept in; whether norms and
    branches are folded."""

    format: Format | None = None
    allowance: Allowance | None = None
    most_drift: float | None = None
    storages: tuple[Storage, ...] = STORAGES
    reparameterize: bool = True


@dataclass(frozen=True)
class Shaped:
    """The step to export, its contract and its initial states (no batch dimension).

    `name` says how it is rounded, empty for one that is float throughout. `report` holds what was done.
    """

    graph: StepGraph
    spec: ModelSpec
    initial: tuple[np.ndarray, ...]
    ladder: Ladder
    name: str = ""
    report: Mapping[str, Any] = field(default_factory=dict)

    def core(self) -> Core:
        """The step under the reference."""
        return _core(self.graph, self.spec, self.initial)


@dataclass(frozen=True)
class Shaping:
    """One shaping, so that its stages need no long argument lists."""

    source: Streamable
    data: Sequences
    labelled: Sequences | None
    about: About
    wishes: Wishes
    chosen: tuple[Target, ...]
    watcher: Watcher

    def shaped(self, graph: StepGraph, folded: Streamable, folding: Report | None, whole: bool) -> Shaped:
        """What becomes of a traced step.

        It was made from `folded`, and that from the source as `folding` says; `whole` says that the source
        has a sequence form to be held against. Raises ProofFailed, BudgetMissed.
        """
        initial = tuple(value[0].numpy() for value in folded.initial.values())
        traced = Shaped(graph, model_spec(folded, graph, self.about), initial, Ladder())
        ladder = self._climb(traced.ladder, self._sequence_rungs(traced, whole))
        ladder = self._climb(ladder, _folding_rungs("step form (torch) = reparameterized (torch)", folding))
        ladder = self._climb(ladder, self._graph_rungs(folded, traced))
        return self._rounded(self._rewritten(replace(traced, ladder=ladder), folding))

    def _rewritten(self, step: Shaped, folding: Report | None) -> Shaped:
        """The step with its norms and branches folded, as those of the module were."""
        if folding is None:
            return step
        self.watcher.begin("folding norms and branches of the step")
        names = [pair.name for pair in step.graph.states]
        frames = np.concatenate(self.data.frames[:4])
        done = rewritten_graph(step.graph, frames, dict(zip(names, step.initial, strict=True)))
        rungs = _folding_rungs("step.onnx = reparameterized step.onnx", done.report)
        return Shaped(
            graph=done.graph,
            spec=with_states(step.spec, done.graph, done.initial),
            initial=tuple(done.initial[name] for name in names),
            ladder=self._climb(step.ladder, rungs),
            report={
                "reparameterization": {"module": folding.to_json(), "step": done.report.to_json()},
            },
        )

    def _rounded(self, step: Shaped) -> Shaped:
        """The step in the format, and with the states, that were wished for."""
        calibration = Calibration(spread(self.data.frames), step.initial)
        mix = self._mix(step.graph, step.spec, calibration)
        format = mix.format if mix else self.wishes.format
        quantized = self._quantized(step.graph, format, calibration)
        states = self._narrow_states(step.graph, calibration)
        ladder = self._climb(step.ladder, self._quantized_rungs(quantized, calibration), COARSE)
        ladder = self._climb(ladder, self._narrow_rungs(step.graph, states, calibration), COARSE)
        graph, spec, initial = quantized.graph if quantized else step.graph, step.spec, step.initial
        if states:
            initial = narrowed_initial(graph, initial, states.mix)
            graph, spec = narrowed(graph, states.mix), narrowed_spec(spec, states.mix)
        report = dict(step.report)
        if quantized:
            report["quantization"] = {**quantized.to_json(), **self._layers(quantized, calibration)}
        if mix:
            report["search"] = mix.to_json()
        if states:
            report["states"] = states.to_json()
        return Shaped(graph, spec, initial, ladder, _name(format, bool(states and states.mix)), report)

    def _mix(self, graph: StepGraph, spec: ModelSpec, calibration: Calibration) -> Chosen | Narrowed | None:
        """The mix of formats, or of widths, that the allowance asks for, when there is one."""
        allowance = self.wishes.allowance
        if allowance is None:
            return None

        def core_of(made: StepGraph) -> Core:
            return _core(made, spec, tuple(calibration.initial))

        if allowance.formats == (FORMATS["fixed16"],):
            return narrow(graph, core_of, calibration, self.labelled, allowance, self.watcher.begin)
        settled, _ = settle(graph, self.chosen)
        target = next(target for target in settled if target.name in _FOR_THIS_MACHINE)
        contract = Contract(spec, tuple(calibration.initial))
        timer = Timer(target.name, lambda made: step_microseconds(made, target, contract))
        watcher = self.watcher.begin
        return choose(graph, core_of, timer, calibration, self.labelled, allowance, watcher)

    def _quantized(
        self, graph: StepGraph, format: Format | None, calibration: Calibration
    ) -> Quantized | None:
        if format is None:
            return None
        self.watcher.begin(f"quantizing to {format.name}")
        return quantize(graph, format, calibration)

    def _layers(self, quantized: Quantized, calibration: Calibration) -> dict[str, Any]:
        """What quantization does to each product; nothing for a format of the whole step, which has none."""
        format = quantized.format
        if format.whole:
            return {}
        self.watcher.begin("looking at each layer")
        found = layers(quantized.prepared, quantized.graph, format, quantized.products, calibration)
        return {"layers": [asdict(each) for each in found], "to blame": to_blame(found, format.max_error)}

    def _quantized_rungs(self, quantized: Quantized | None, calibration: Calibration) -> list[Rung]:
        if quantized is None:
            return []
        self.watcher.begin("quantized step against the float step")
        return prove_quantized.near_float(quantized, calibration)

    def _narrow_states(self, graph: StepGraph, calibration: Calibration) -> ChosenStates | None:
        """The dtypes of the states, when a drift is allowed for narrower ones."""
        if self.wishes.most_drift is None:
            return None
        self.watcher.begin("streaming with narrower states")
        return choose_states(graph, calibration, self.wishes.most_drift, self.wishes.storages)

    def _narrow_rungs(
        self, graph: StepGraph, narrow: ChosenStates | None, calibration: Calibration
    ) -> list[Rung]:
        if narrow is None or not narrow.mix:
            return []
        self.watcher.begin("narrower states against float32")
        return [prove_quantized.narrow_states_near_float(graph, narrow, calibration)]

    def _sequence_rungs(self, step: Shaped, whole: bool) -> list[Rung]:
        if not whole:
            return []
        self.watcher.begin("sequence form against step form")
        allowed = loosened(prove.SEQUENCE_TOLERANCE, step.graph, step.spec)
        return [prove.sequence_equals_step(self.source, self.data, allowed)]

    def _graph_rungs(self, folded: Streamable, step: Shaped) -> list[Rung]:
        self.watcher.begin("step form against the reference")
        frames = np.concatenate(self.data.frames[:4])[:128]
        allowed = loosened(prove.GRAPH_TOLERANCE, step.graph, step.spec)
        return [prove.step_equals_graph(folded, step.core(), frames, allowed, self.about.origin)]

    def _climb(self, ladder: Ladder, rungs: Sequence[Rung], fix: str = UNEQUAL) -> Ladder:
        return climb(ladder, rungs, self.watcher, fix)


def _folding_rungs(claim: str, folding: Report | None) -> list[Rung]:
    """One rung for all rewrites together: the outputs of the last form against those of the first."""
    if folding is None or not folding.applied:
        return []
    before, after = folding.before.macs, folding.after.macs
    detail = f"{len(folding.applied)} rewrites, {before:,} -> {after:,} MACs; relative to the largest output"
    return [Rung(claim, folding.error < BOUND, folding.error, BOUND, detail)]


def _core(graph: StepGraph, spec: ModelSpec, initial: tuple[np.ndarray, ...]) -> Core:
    """The step graph under the reference."""
    return Core(spec, reference.open(graph.model, spec), initial, graph.sha256())


def _name(format: Format | None, narrow: bool) -> str:
    """What the step is called where its predictions are told; empty for one that is float throughout."""
    if narrow:
        return f"{format.name} with narrow states" if format else "narrow states"
    return format.name if format else ""
