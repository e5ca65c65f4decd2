"""From a step to a bundle: compiled for every target, written aside, opened and proved as on a device."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import millstream_runtime
from millstream import lower, package, prove, prove_quantized, targets
from millstream.budget import Budget
from millstream.budget import check as check_budget
from millstream.describing import About, stored
from millstream.fallback import settle
from millstream.float16 import loosened
from millstream.graph import StepGraph
from millstream.ladder import UNEQUAL, Ladder, Rung, Watcher, climb
from millstream.object_files import code_bytes
from millstream.opening import open_here
from millstream.package import Contents
from millstream.protocol import Streamable
from millstream.provenance import provenance
from millstream.quantize.calibration import Calibration
from millstream.quantize.tolerance import largest_effect, rounds, widened
from millstream.sequences import Sequences
from millstream.shaping import COARSE, Shaped
from millstream.targets import Compiled, Contract, Target
from millstream_runtime.backends import has_backend
from millstream_runtime.core import Core
from millstream_runtime.golden import Golden
from millstream_runtime.model import Model
from millstream_runtime.spec import STEP, TargetSpec

_GOLDEN_TICKS = 64
_LONG_RUN_TICKS = 1000


@dataclass(frozen=True)
class Bundling:
    """One bundling, so that its stages need no long argument lists."""

    source: Streamable
    data: Sequences
    labelled: Sequences | None
    about: About
    budget: Budget | None
    chosen: tuple[Target, ...]
    watcher: Watcher

    def bundled(self, step: Shaped, fixed_batch_reason: str) -> tuple[Contents, Ladder]:
        """The contents of the bundle, and every rung below it and in it.

        Raises UnsupportedModel when a target and its fallback lack operators; ProofFailed, BudgetExceeded.
        """
        self.watcher.begin("looking for what the targets cannot run")
        chosen, detours = settle(step.graph, self.chosen)
        for detour in detours:
            self.watcher.noted(str(detour))
        frames, core = np.concatenate(self.data.frames), step.core()
        golden = prove.make_golden(core, frames[:_GOLDEN_TICKS], step.spec.look_ahead)
        effect = self._effect_of_ties(step, Calibration([frames], step.initial)) if step.name else 0.0
        contract = Contract(step.spec, step.initial)
        contents = Contents(
            model=step.spec,
            step=step.graph.to_bytes(),
            golden=golden,
            targets=tuple(self._compiled(target, step.graph, contract, effect) for target in chosen),
            initial=stored(step.spec, step.initial),
            provenance={**provenance(fixed_batch_reason), **self.about.provenance},
            options={"targets": [t.name for t in self.chosen], **self.about.options},
        )
        ladder = self._prove_bundle(contents, core, golden, frames, step)
        fallbacks = [detour.to_json() for detour in detours]
        report: dict[str, Any] = {"ladder": ladder.to_json(), "fallbacks": fallbacks, **step.report}
        return replace(contents, report=report), ladder

    def _effect_of_ties(self, step: Shaped, calibration: Calibration) -> float:
        """What roundings to the other side may do; 0 where neither activations nor states are rounded."""
        if not rounds(step.graph, step.spec):
            return 0.0
        self.watcher.begin("measuring what ties do that round to the other side")
        return largest_effect(step.graph, calibration, _GOLDEN_TICKS)

    def _compiled(
        self, target: Target, graph: StepGraph, contract: Contract, effect: float
    ) -> tuple[TargetSpec, Mapping[str, bytes]]:
        self.watcher.begin(f"compiling for {target.name}")
        made: Compiled = targets.compile_half(target).compile(graph, target, contract)
        if self.budget and not has_backend(target.backend):
            code = code_bytes(made.files)
            check_budget(self.budget, target.name, made.memory, code, lambda: lower.lower(graph).program)
        files = (STEP,) if target.reads_step else ()
        tolerance = loosened(made.tolerance, graph, contract.spec)
        tolerance = widened(tolerance, effect) if effect else tolerance
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
        step: Shaped,
    ) -> Ladder:
        """Write the bundle aside, open it as a device would, and try every target in it."""
        ladder = step.ladder
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
                ladder = self._predict(ladder, models, core, step.name, self.labelled)
        return ladder

    def _predict(
        self, ladder: Ladder, models: Sequence[Model], core: Core, format: str, labelled: Sequences
    ) -> Ladder:
        """Backends predict what torch predicts, or what the quantized reference does, which stays near.

        `format` names the one of a quantized step.
        """
        wanted, of = prove.labelled_outputs_of_torch(self.source, labelled), format or "torch"
        if format:
            found = prove_quantized.labelled_outputs(core, labelled)
            near = prove_quantized.keeps_accuracy(format, wanted, found, labelled)
            ladder, wanted = self._climb(ladder, [near], COARSE), found
        return self._climb(ladder, [prove.same_predictions(of, wanted, models, labelled)])

    def _backend_rungs(self, model: Model, golden: Golden, frames: np.ndarray) -> list[Rung]:
        rungs = [prove.backend_equals_reference(model, golden)]
        if model.spec.batch in (None, 1):
            rungs.append(prove.chunks_equal_frames(model, frames[:97]))
        if model.spec.batch is None and len(frames) > model.spec.look_ahead:
            rungs.append(prove.batch_equals_streams(model, frames[:33]))
        return rungs

    def _climb(self, ladder: Ladder, rungs: Sequence[Rung], fix: str = UNEQUAL) -> Ladder:
        return climb(ladder, rungs, self.watcher, fix)
