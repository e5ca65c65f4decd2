"""From a PyTorch model or a step graph to a proved bundle: all is tried before anything is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from millstream import package, sequences, targets
from millstream.budget import Budget
from millstream.budgeted import Allowance
from millstream.bundling import Bundling
from millstream.describing import About
from millstream.errors import ToolMissing, UsageError
from millstream.ladder import Ladder, Silent, Watcher
from millstream.package import Contents
from millstream.protocol import Streamable, streamable
from millstream.quantize import Format
from millstream.quantize.states.storage import Storage
from millstream.quantize.states.storages import STORAGES
from millstream.reparameterize import Report, rewritten
from millstream.sequences import Example, Sequences
from millstream.shaping import Shaping, Wishes
from millstream.signing import SigningKey
from millstream.targets import Target
from millstream.trace import Traced, trace
from millstream_runtime.backends import has_backend
from millstream_runtime.spec import Manifest


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
    storages: Sequence[Storage] = STORAGES,
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
        storages: what states may be kept in then, of `millstream.quantize.states.storages`.
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
    wishes = Wishes(format, allowance, most_drift, tuple(storages), reparameterize)
    return _Export(source, data, labelled, about, budget, wishes, chosen, watcher).run(first)


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
    wishes = Wishes(format, reparameterize=False)
    run = _Export(source, data, None, about, budget, wishes, chosen, watcher)
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
    """One run of `export`: the module is folded, its step traced, shaped and bundled."""

    source: Streamable
    data: Sequences
    labelled: Sequences | None
    about: About
    budget: Budget | None
    wishes: Wishes
    chosen: tuple[Target, ...]
    watcher: Watcher

    def run(self, frame: torch.Tensor) -> Exported:
        """Fold, trace the step of one frame, and export what comes."""
        folded, folding = self._folded()
        self.watcher.begin("tracing the step")
        return self.build(trace(folded, frame), folded, folding, whole=self.source.stateful)

    def build(self, traced: Traced, folded: Streamable, folding: Report | None, whole: bool) -> Exported:
        """Export a traced step; the arguments are those of `Shaping.shaped`."""
        source, data, labelled, about = self.source, self.data, self.labelled, self.about
        shaping = Shaping(source, data, labelled, about, self.wishes, self.chosen, self.watcher)
        bundling = Bundling(source, data, labelled, about, self.budget, self.chosen, self.watcher)
        step = shaping.shaped(traced.graph, folded, folding, whole)
        return Exported(*bundling.bundled(step, traced.fixed_batch_reason))

    def _folded(self) -> tuple[Streamable, Report | None]:
        if not self.wishes.reparameterize:
            return self.source, None
        self.watcher.begin("folding norms and branches of the module")
        return rewritten(self.source, self.data)
