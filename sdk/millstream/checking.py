"""What would stop an export, found in seconds: nothing is compiled, proved or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from millstream import targets
from millstream.gap import Gap
from millstream.protocol import streamable
from millstream.sequences import Sequences
from millstream.trace import trace


@dataclass(frozen=True)
class Checked:
    """What an export would find. `gaps` names, for each target that lacks some, its nodes.

    `state_bytes` is the state of one stream; `fixed_batch_reason` says why streams cannot share a step, empty
    when they can.
    """

    stateful: bool
    look_ahead: int
    states: Mapping[str, tuple[int, ...]]
    state_bytes: int
    nodes: int
    fixed_batch_reason: str
    gaps: Mapping[str, Sequence[Gap]] = field(default_factory=dict)


def check(model: nn.Module, example: Sequences, chosen: Sequence[str]) -> Checked:
    """Try the protocol and the trace of a model, and ask each target for its gaps.

    Raises UnsupportedModel (a subclass of it) when the model cannot become a step graph.
    """
    stateful = callable(getattr(model, "step", None))
    frame = example.frames[0][:1] if stateful else example.frames[0][None]
    source = streamable(model, torch.tensor(frame))
    traced = trace(source, torch.tensor(frame))
    found = {}
    for name in chosen:
        target = targets.target(name)
        gaps = targets.compile_half(target).gaps(traced.graph, target)
        if gaps:
            found[name] = gaps
    return Checked(
        stateful=stateful,
        look_ahead=source.look_ahead,
        states={name: tuple(value.shape[1:]) for name, value in source.initial.items()},
        state_bytes=sum(value.nbytes for value in source.initial.values()),
        nodes=len(traced.graph.model.graph.node),
        fixed_batch_reason=traced.fixed_batch_reason,
        gaps=found,
    )
