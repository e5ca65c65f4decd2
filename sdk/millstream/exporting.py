"""From a PyTorch model to a proved bundle: trace, compile, and try every rung before anything is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

import millstream_runtime
from millstream import lower, package, prove, prove_quantized, reference, sequences, targets
from millstream.budget import Budget
from millstream.budget import check as check_budget
from millstream.budgeted import Allowance, Chosen, Timer, choose
from millstream.describing import About, model_spec, stored, with_states
from millstream.errors import ProofFailed, ToolMissing, UsageError
from millstream.fallback import settle
from millstream.float16 import loosened
from millstream.graph import StepGraph
from millstream.ladder import Ladder, Rung, Silent, Watcher
from millstream.narrowed import Narrowed, narrow
from millstream.object_files import code_bytes
from millstream.opening import open_here
from millstream.package import Contents
from millstream.protocol import Streamable, streamable
from millstream.provenance import provenance
from millstream.quantize import FORMATS, Format, Quantized, quantize
from millstream.quantize.calibration import Calibration, spread
from millstream.quantize.layers import layers, to_blame
from millstream.quantize.states.choosing import Chosen as ChosenStates
from millstream.quantize.states.choosing import choose as choose_states
from millstream.quantize.states.writing import narrowed, narrowed_initial, narrowed_spec
from millstream.quantize.tolerance import largest_effect, rounds, widened
from millstream.reparameterize import BOUND, Report, rewritten
from millstream.reparameterize.graph import RewrittenStep, rewritten_graph
from millstream.sequences import Example, Sequences
from millstream.signing import SigningKey
from millstream.step_time import step_microseconds
from millstream.targets import Compiled, Contract, Target
from millstream.trace import Traced, trace
from millstream_runtime.backends import has_backend
from millstream_runtime.core import Core
from millstream_runtime.golden import Golden
from millstream_runtime.model import Model
from millstream_runtime.spec import (
    STEP,
    Manifest,
    ModelSpec,
    TargetSpec,
)

_GOLDEN_TICKS = 64
_LONG_RUN_TICKS = 1000
#: Targets that run on the machine that exports; the last one is always there.
_FOR_THIS_MACHINE = ("cpu", "numba", "relax", "onnxruntime")

#: What helps where two forms differ that should not, and where rounding costs too much.
_UNEQUAL = "make the two forms compute the same"
_COARSE = (
    "choose a finer format, let millstream quantize search one within a --budget, or train with the rounding"
)


@dataclass(frozen=True)
class Exported:
    """A proved export that is not written yet."""

    contents: Contents
    ladder: Ladder

    def save(self, path: str | os.PathLike[str], signing_key: SigningKey | None = None) -> Manifest:
        """Write the bundle; a good one that stood there stays when writing fails. Raises WriteFailed."""
        return package.write(path, self.contents, signing_key)


def export(
    model: nn.Module,
    example: Example,
    target: str | Sequence[str] = ("cpu", "numba"),
    *,
    labelled: Sequences | None = None,
    about: About | None = None,
    budget: Budget | None = None,
    format: Format | None = None,
    allowance: Allowance | None = None,
    most_drift: float | None = None,
    reparameterize: bool = True,
    watcher: Watcher | None = None,
) -> Exported:
    """Export `model` for the targets and prove that every form of it gives the same numbers.

    Args:
        model: keeps the protocol of `millstream.protocol`; it is copied, and left as it is.
        example: real frames: an array or tensor (N, T, ...) as `forward` takes it, or a list of
            sequences (T_i, ...); for a model without `step`, frames (N, ...).
        target: one or several names of `millstream.targets.TARGETS`. `onnxruntime` is always added:
            it opens step.onnx as it is and costs nothing. Where a target cannot run the graph and its
            fallback can, the fallback is taken; the watcher is told and the report says why.
        labelled: sequences with integer labels, for the metric.
        about: name, sample rate, hop and labels.
        budget: flash and RAM of the device, for the targets that run without Python.
        format: how to quantize, one of `millstream.quantize.FORMATS`; without, the step stays in float.
        allowance: what quantization may lose, in place of a format: the smallest mix of formats is searched
            that loses no more on `labelled`, or without labels on the outputs over the example.
        most_drift: with it, each float32 state is kept in the smallest dtype with which no output and no
            state goes farther (relative RMS) from float over a long stream; without, all stay float32.
        reparameterize: whether norms and parallel branches are folded into the layers around them first.
        watcher: is told what goes on.

    Raises UnsupportedModel (a subclass of it) when the model cannot become a step graph or a target and its
    fallback lack operators; ProofFailed when a rung fails; BudgetExceeded; BudgetMissed when no mix keeps
    within the allowance; UnknownTarget, ToolMissing, DataInvalid, UsageError for a budget without a target
    that it is for.
    """
    about = about or About()
    watcher = watcher or Silent()
    chosen = _targets(target)
    _check_budget_has_a_target(budget, chosen)
    data = example if isinstance(example, Sequences) else sequences.sequences(example)
    first = torch.tensor(data.frames[0][:1] if hasattr(model, "step") else _one_frame(data))
    source = streamable(model, first)
    if not source.stateful:
        data, labelled = _as_frames(data), labelled and _as_frames(labelled)
    quantization = (format, allowance, most_drift, reparameterize)
    return _Export(source, data, labelled, about, budget, *quantization, watcher, chosen).run(first)


def _check_budget_has_a_target(budget: Budget | None, chosen: Sequence[Target]) -> None:
    if budget and all(has_backend(each.backend) for each in chosen):
        raise UsageError(
            "a budget, and no target that it is for",
            fix="add a target without Python, such as --target c, or drop the budget",
        )


def export_graph(
    traced: Traced,
    source: Streamable,
    example: Example,
    target: str | Sequence[str] = ("cpu", "numba"),
    *,
    about: About | None = None,
    budget: Budget | None = None,
    format: Format | None = None,
    watcher: Watcher | None = None,
) -> Exported:
    """Export a step graph that is there already, and hold it against `source`, which it was made from.

    `example` holds frames as the graph takes them. The rest, and what is raised, as for `export`.
    """
    about, watcher, chosen = about or About(), watcher or Silent(), _targets(target)
    _check_budget_has_a_target(budget, chosen)
    data = example if isinstance(example, Sequences) else sequences.sequences(example)
    if not source.stateful:
        data = _as_frames(data)
    run = _Export(source, data, None, about, budget, format, None, None, False, watcher, chosen)
    return run.build(traced, source, None, whole=False)


def _targets(names: str | Sequence[str]) -> tuple[Target, ...]:
    """The targets asked for, and onnxruntime; each once. What one of them lacks here is told at once."""
    asked = [names] if isinstance(names, str) else list(names)
    chosen = tuple(targets.target(name) for name in dict.fromkeys([*asked, "onnxruntime"]))
    lacking = {target.name: lines for target in chosen if (lines := targets.missing(target))}
    if lacking:
        raise ToolMissing(
            f"{' and '.join(lacking)} cannot be compiled and proved here",
            fix="; ".join(dict.fromkeys(line for lines in lacking.values() for line in lines)),
        )
    return chosen


def _one_frame(data: Sequences) -> np.ndarray:
    """One frame (1, ...) for a stateless model, whose example rows are frames themselves."""
    return data.frames[0][None]


def _as_frames(data: Sequences) -> Sequences:
    """For a stateless model: each row is one frame, so each becomes a sequence of one."""
    return Sequences(tuple(frame[None] for frame in data.frames), data.labels)


@dataclass(frozen=True)
class _Export:
    """One run of `export`, so that its stages need no long argument lists."""

    source: Streamable
    data: Sequences
    labelled: Sequences | None
    about: About
    budget: Budget | None
    format: Format | None
    allowance: Allowance | None
    most_drift: float | None
    reparameterize: bool
    watcher: Watcher
    chosen: tuple[Target, ...]

    def run(self, frame: torch.Tensor) -> Exported:
        """Fold, trace the step of one frame, and export what comes."""
        folded, folding = self._folded()
        self.watcher.begin("tracing the step")
        return self.build(trace(folded, frame), folded, folding, whole=self.source.stateful)

    def build(self, traced: Traced, folded: Streamable, folding: Report | None, whole: bool) -> Exported:
        """Export a traced step.

        It was made from `folded`, and that from the source as `folding` says; `whole` says that the source
        has a sequence form to be held against.
        """
        spec = model_spec(folded, traced.graph, self.about)
        initial = tuple(value[0].numpy() for value in folded.initial.values())
        exact = _core(traced.graph, spec, initial)
        ladder = self._climb(Ladder(), self._sequence_rungs(traced.graph, whole))
        ladder = self._climb(ladder, _folding_rungs("step form (torch) = reparameterized (torch)", folding))
        ladder = self._climb(ladder, self._graph_rungs(folded, traced.graph, exact))
        rewriting = self._rewritten(traced.graph, initial)
        if rewriting:
            claim = "step.onnx = reparameterized step.onnx"
            ladder = self._climb(ladder, _folding_rungs(claim, rewriting.report))
            spec = with_states(spec, rewriting.graph, rewriting.initial)
            initial = tuple(rewriting.initial[pair.name] for pair in traced.graph.states)
        rewritten = rewriting.graph if rewriting else traced.graph
        calibration = Calibration(spread(self.data.frames), initial)
        chosen_mix = self._mix(rewritten, spec, calibration)
        format = chosen_mix.format if chosen_mix else self.format
        quantized = self._quantized(rewritten, format, calibration)
        narrow = self._narrow_states(rewritten, calibration)
        graph = quantized.graph if quantized else rewritten
        ladder = self._climb(ladder, self._quantized_rungs(quantized, calibration), _COARSE)
        ladder = self._climb(ladder, self._narrow_rungs(rewritten, narrow, calibration), _COARSE)
        if narrow:
            initial = narrowed_initial(graph, initial, narrow.mix)
            graph, spec = narrowed(graph, narrow.mix), narrowed_spec(spec, narrow.mix)
        self.watcher.begin("looking for what the targets cannot run")
        chosen, detours = settle(graph, self.chosen)
        for detour in detours:
            self.watcher.noted(str(detour))
        core = exact if graph is traced.graph else _core(graph, spec, initial)
        frames = np.concatenate(self.data.frames)
        golden = prove.make_golden(core, frames[:_GOLDEN_TICKS], spec.look_ahead)
        rounded = quantized or (narrow and narrow.mix)
        effect = self._effect_of_ties(graph, Calibration([frames], initial)) if rounded else 0.0
        contract = Contract(spec, initial)
        contents = Contents(
            model=spec,
            step=graph.to_bytes(),
            golden=golden,
            targets=tuple(self._compiled(target, graph, contract, effect) for target in chosen),
            initial=stored(spec, initial),
            provenance={**provenance(traced.fixed_batch_reason), **self.about.provenance},
            options={"targets": [t.name for t in self.chosen], **self.about.options},
        )
        name = _name(format, bool(narrow and narrow.mix))
        ladder = self._prove_bundle(contents, core, golden, frames, name, ladder)
        fallbacks = [detour.to_json() for detour in detours]
        report: dict[str, Any] = {"ladder": ladder.to_json(), "fallbacks": fallbacks}
        if folding and rewriting:
            report["reparameterization"] = {
                "module": folding.to_json(),
                "step": rewriting.report.to_json(),
            }
        if quantized:
            report["quantization"] = {**quantized.to_json(), **self._layers(quantized, calibration)}
        if chosen_mix:
            report["search"] = chosen_mix.to_json()
        if narrow:
            report["states"] = narrow.to_json()
        return Exported(replace(contents, report=report), ladder)

    def _mix(self, graph: StepGraph, spec: ModelSpec, calibration: Calibration) -> Chosen | Narrowed | None:
        """The mix of formats, or of widths, that the allowance asks for, when there is one."""
        if self.allowance is None:
            return None

        def core_of(made: StepGraph) -> Core:
            return _core(made, spec, tuple(calibration.initial))

        if self.allowance.formats == (FORMATS["fixed16"],):
            return narrow(graph, core_of, calibration, self.labelled, self.allowance, self.watcher.begin)
        settled, _ = settle(graph, self.chosen)
        target = next(target for target in settled if target.name in _FOR_THIS_MACHINE)
        contract = Contract(spec, tuple(calibration.initial))
        timer = Timer(target.name, lambda made: step_microseconds(made, target, contract))
        watcher = self.watcher.begin
        return choose(graph, core_of, timer, calibration, self.labelled, self.allowance, watcher)

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
        if self.most_drift is None:
            return None
        self.watcher.begin("streaming with narrower states")
        return choose_states(graph, calibration, self.most_drift)

    def _narrow_rungs(
        self, graph: StepGraph, narrow: ChosenStates | None, calibration: Calibration
    ) -> list[Rung]:
        if narrow is None or not narrow.mix:
            return []
        self.watcher.begin("narrower states against float32")
        return [prove_quantized.narrow_states_near_float(graph, narrow, calibration)]

    def _effect_of_ties(self, graph: StepGraph, calibration: Calibration) -> float:
        """What roundings to the other side may do; 0 for a step whose activations are not quantized."""
        if not rounds(graph):
            return 0.0
        self.watcher.begin("measuring what ties do that round to the other side")
        return largest_effect(graph, calibration, _GOLDEN_TICKS)

    def _folded(self) -> tuple[Streamable, Report | None]:
        if not self.reparameterize:
            return self.source, None
        self.watcher.begin("folding norms and branches of the module")
        return rewritten(self.source, self.data)

    def _rewritten(self, graph: StepGraph, initial: tuple[np.ndarray, ...]) -> RewrittenStep | None:
        if not self.reparameterize:
            return None
        self.watcher.begin("folding norms and branches of the step")
        names = [pair.name for pair in graph.states]
        frames = np.concatenate(self.data.frames[:4])
        return rewritten_graph(graph, frames, dict(zip(names, initial, strict=True)))

    def _sequence_rungs(self, graph: StepGraph, whole: bool) -> list[Rung]:
        if not whole:
            return []
        self.watcher.begin("sequence form against step form")
        allowed = loosened(prove.SEQUENCE_TOLERANCE, graph)
        return [prove.sequence_equals_step(self.source, self.data, allowed)]

    def _graph_rungs(self, folded: Streamable, graph: StepGraph, core: Core) -> list[Rung]:
        self.watcher.begin("step form against the reference")
        frames, allowed = np.concatenate(self.data.frames[:4])[:128], loosened(prove.GRAPH_TOLERANCE, graph)
        return [prove.step_equals_graph(folded, core, frames, allowed, self.about.origin)]

    def _climb(self, ladder: Ladder, rungs: Sequence[Rung], fix: str = _UNEQUAL) -> Ladder:
        """Add rungs; a failed one ends the export."""
        for rung in rungs:
            self.watcher.climbed(rung)
            ladder = Ladder((*ladder.rungs, rung))
            if not rung.passed:
                raise ProofFailed(
                    f"rung failed: {rung.claim}",
                    why=_why(rung),
                    fix=f"nothing was written; {fix}, then export again",
                )
        return ladder

    def _compiled(
        self, target: Target, graph: StepGraph, contract: Contract, effect: float
    ) -> tuple[TargetSpec, Mapping[str, bytes]]:
        self.watcher.begin(f"compiling for {target.name}")
        made: Compiled = targets.compile_half(target).compile(graph, target, contract)
        if self.budget and not has_backend(target.backend):
            code = code_bytes(made.files)
            check_budget(self.budget, target.name, made.memory, code, lambda: lower.lower(graph).program)
        files = (STEP,) if target.reads_step else ()
        tolerance = widened(made.tolerance, effect) if effect else made.tolerance
        return (
            TargetSpec(target.name, target.backend, files, tolerance, made.memory, made.machine),
            made.files,
        )

    def _prove_bundle(
        self,
        contents: Contents,
        core: Core,
        golden: Golden,
        frames: np.ndarray,
        format: str,
        ladder: Ladder,
    ) -> Ladder:
        """Write the bundle aside, open it as a device would, and try every target in it.

        `format` names the one of a quantized step.
        """
        with tempfile.TemporaryDirectory(prefix="millstream-") as room:
            path = os.path.join(room, "proof.mill")
            package.write(path, contents)
            bundle = millstream_runtime.read(path)
            models = [open_here(bundle, target) for target in bundle.manifest.targets]
            for model in models:
                self.watcher.begin(f"proving {model.target.name}")
                ladder = self._climb(ladder, self._backend_rungs(model, golden, frames))
            if self.source.initial:
                self.watcher.begin(f"{_LONG_RUN_TICKS} ticks without reset")
                ladder = self._climb(ladder, prove.long_run(models, core, frames, _LONG_RUN_TICKS))
            if self.labelled is not None and self.labelled.labels.size:
                self.watcher.begin("predictions on labelled data")
                ladder = self._predict(ladder, models, core, format, self.labelled)
        return ladder

    def _predict(
        self, ladder: Ladder, models: Sequence[Model], core: Core, format: str, labelled: Sequences
    ) -> Ladder:
        """Backends predict what torch predicts, or what the quantized reference does, which stays near."""
        wanted, of = prove.labelled_outputs_of_torch(self.source, labelled), format or "torch"
        if format:
            found = prove_quantized.labelled_outputs(core, labelled)
            near = prove_quantized.keeps_accuracy(format, wanted, found, labelled)
            ladder, wanted = self._climb(ladder, [near], _COARSE), found
        return self._climb(ladder, [prove.same_predictions(of, wanted, models, labelled)])

    def _backend_rungs(self, model: Model, golden: Golden, frames: np.ndarray) -> list[Rung]:
        rungs = [prove.backend_equals_reference(model, golden)]
        if model.spec.batch in (None, 1):
            rungs.append(prove.chunks_equal_frames(model, frames[:97]))
        if model.spec.batch is None and len(frames) > model.spec.look_ahead:
            rungs.append(prove.batch_equals_streams(model, frames[:33]))
        return rungs


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


def _why(rung: Rung) -> str:
    if rung.difference is None or rung.bound is None:
        return rung.detail
    return f"largest difference {rung.difference:.3g}, allowed {rung.bound:.3g}; {rung.detail}"
