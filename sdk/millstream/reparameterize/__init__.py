"""Rewrites of a module into a smaller one that gives the same numbers: one file each, every one proved.

    from millstream.reparameterize import reparameterize

    module, report = reparameterize(module, frames)

A rewrite finds its places in what the module does on real frames (`flow`), says which precondition fails
where one fails, computes in float64, and is taken back where the outputs differ by more than `BOUND` or
nothing gets smaller.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from millstream.errors import NotStreamable
from millstream.protocol import Streamable, streamable
from millstream.reparameterize import equality
from millstream.reparameterize.attention import scores, values
from millstream.reparameterize.batch_norm import batch_norm
from millstream.reparameterize.candidate import Candidate, Rewrite
from millstream.reparameterize.centring import centring
from millstream.reparameterize.cost import cost
from millstream.reparameterize.equality import BOUND
from millstream.reparameterize.flow import Flow, record
from millstream.reparameterize.idle_feed_forward import idle_feed_forward
from millstream.reparameterize.layer_norm import layer_norm
from millstream.reparameterize.linear_map import linear_map
from millstream.reparameterize.progressive_norm import progressive_norm
from millstream.reparameterize.report import Applied, Cost, LeftAlone, Report
from millstream.reparameterize.residual_norm import residual_norm
from millstream.sequences import Example, Sequences, sequences
from millstream.user_code import guarded, reason

__all__ = ["BOUND", "REWRITES", "Applied", "Cost", "LeftAlone", "Report", "reparameterize", "rewritten"]

#: Every rewrite, in the order in which they are tried; all again until none applies.
REWRITES: Mapping[str, Rewrite] = {
    "progressive norm": progressive_norm,
    "channel-idle feed-forward": idle_feed_forward,
    "batch norm": batch_norm,
    "linear map": linear_map,
    "layer norm": layer_norm,
    "norm through the residual stream": residual_norm,
    "centring": centring,
    "attention scores": scores,
    "attention values": values,
}


def reparameterize(
    module: nn.Module, frames: Example, rewrites: Mapping[str, Rewrite] | None = None
) -> tuple[nn.Module, Report]:
    """A copy of `module` in evaluation mode with every rewrite applied that helps, and what was done.

    Args:
        module: keeps the protocol of `millstream.protocol`; it is left as it is.
        frames: real frames: (N, T, ...) as `forward` takes it, or a list of sequences (T_i, ...); for a
            model without `step`, frames (N, ...).
        rewrites: by name, some of `REWRITES` or further ones; without, all of them.

    Raises:
        NotStreamable, MutatedBuffer, DataInvalid: as `export` does.
    """
    data = frames if isinstance(frames, Sequences) else sequences(frames)
    stateful = hasattr(module, "step")
    first = torch.tensor(data.frames[0][:1] if stateful else data.frames[0][None])
    if not stateful:
        data = Sequences(tuple(frame[None] for frame in data.frames))
    source = streamable(module, first)
    notes = ("the module was in training mode: a copy in evaluation mode was folded",) * module.training
    source, report = rewritten(source, data, REWRITES if rewrites is None else rewrites)
    return source.module, replace(report, notes=notes)


def rewritten(
    source: Streamable, data: Sequences, rewrites: Mapping[str, Rewrite] = REWRITES
) -> tuple[Streamable, Report]:
    """Apply rewrites to a checked module until none helps any more. `source` is left as it is.

    `data` holds sequences (T, ...); of a stateless model, sequences of one frame.
    """
    run = _Run(replace(source, module=copy.deepcopy(source.module)), data, rewrites)
    return run.finished()


class _Whole(nn.Module):
    """Holds the module, so that the whole of it can be replaced as any part can."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class _Run:
    """The module as far as it is rewritten, what it gives, and what became of every place."""

    def __init__(self, source: Streamable, data: Sequences, rewrites: Mapping[str, Rewrite]) -> None:
        self._source, self._data, self._rewrites = source, data, rewrites
        self._outputs = equality.outputs(source, data)
        self._cost = self._costs(source)
        self._flow: Flow | None = None
        self._applied: list[Applied] = []
        self._failed: dict[tuple[str, str], str] = {}

    def finished(self) -> tuple[Streamable, Report]:
        first, before = self._outputs, self._cost
        while True:
            applied = len(self._applied)
            left = [each for name, rewrite in self._rewrites.items() for each in self._swept(name, rewrite)]
            if len(self._applied) == applied:
                break
        error = equality.relative_error(self._outputs, first)
        return self._source, Report(tuple(self._applied), tuple(left), error, before, self._cost)

    def _swept(self, name: str, rewrite: Rewrite) -> list[LeftAlone]:
        """`_sweep`; a module that a rewrite cannot even look at is left alone, as a whole."""

        def refusal(error: Exception) -> NotStreamable:
            return NotStreamable(f"the rewrite cannot read the module: {reason(error)}")

        try:
            return guarded(lambda: self._sweep(name, rewrite), refusal)
        except NotStreamable as refused:
            return [LeftAlone(name, "the module itself", refused.what)]

    def _sweep(self, name: str, rewrite: Rewrite) -> list[LeftAlone]:
        """Apply one rewrite at every place that it fits; the places where it does not."""
        seen: set[str] = set()
        while True:
            flow = self._recorded()
            candidates = list(rewrite(flow.root, flow))
            fresh = next((c for c in candidates if c.transform and c.where not in seen), None)
            if fresh is None:
                return [
                    LeftAlone(name, c.where, self._failed.get((name, c.where), c.why))
                    for c in candidates
                    if c.transform is None or (name, c.where) in self._failed
                ]
            seen.add(fresh.where)
            if (name, fresh.where) not in self._failed:
                self._try(name, fresh)

    def _try(self, name: str, candidate: Candidate) -> None:
        """Change a copy, and keep it when it gives the same outputs for less."""
        whole = _Whole(copy.deepcopy(self._source.module))

        def attempt() -> tuple[Streamable, list[Tensor], Cost]:
            if candidate.transform:
                candidate.transform(whole)
            source = _with(self._source, whole.model)
            return source, equality.outputs(source, self._data), self._costs(source)

        try:
            source, outputs, after = guarded(attempt, lambda e: NotStreamable(reason(e)))
        except NotStreamable as raised:
            self._failed[name, candidate.where] = f"the rewritten module raised {raised.what}"
            return
        error = equality.relative_error(outputs, self._outputs)
        why = _against(error, self._cost, after)
        if why:
            self._failed[name, candidate.where] = why
            return
        self._applied.append(Applied(name, candidate.where, error, self._cost, after))
        self._source, self._outputs, self._cost, self._flow = source, outputs, after, None

    def _recorded(self) -> Flow:
        """The flow of the module as it is now."""
        if self._flow is None:
            whole, short = _Whole(self._source.module), _short(self._data)
            self._flow = record(whole, lambda leave: equality.runs(self._source, short, leave))
        return self._flow

    def _costs(self, source: Streamable) -> Cost:
        frame = torch.tensor(self._data.frames[0][:1])
        state = source.initial_state(1)
        return cost(source.module, lambda: source.step(frame, state, valid=True))


def _with(source: Streamable, module: nn.Module) -> Streamable:
    """The module in the place of the one that it was made of; its states may have other shapes."""
    module = module.eval().requires_grad_(False)
    initial = dict(module.initial_state(1)) if source.stateful else {}  # type: ignore[operator]
    return replace(source, module=module, initial=initial)


def _short(data: Sequences) -> Sequences:
    return Sequences(tuple(frames[:_RECORDED] for frames in data.frames[:1]))


#: Frames of the run that shows what reads what; more than a ring of a few frames needs to fill.
_RECORDED = 5


def _against(error: float, before: Cost, after: Cost) -> str:
    """Why a rewrite is not kept; empty when it is."""
    if not error < BOUND:
        return f"the outputs differ by {error:.1e} of their largest, more than {BOUND:.0e}"
    if (after.macs, after.parameters) >= (before.macs, before.parameters):
        sizes = (before.macs, after.macs, before.parameters, after.parameters)
        return "it would not help: MACs {:,} -> {:,}, parameters {:,} -> {:,}".format(*sizes)
    return ""
