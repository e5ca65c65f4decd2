"""The residual stream that a value belongs to: all sums that it is part of, who writes and who reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from millstream.reparameterize.flow import LINEAR, Call, Flow, shown

_WRITERS = (*LINEAR, nn.Embedding)
#: What may stand between a stored tensor, such as learned positions, and the sum that it joins.
_CUTS = ("slice", "select", "expand", "unsqueeze", "view", "alias")


@dataclass
class Stream:
    """Sums of several values. `writers` are layers by path, the first one called at the root of every sum.

    `stored` are parameters and buffers that are added, by name; `readers` every call that reads a sum and
    is no sum itself; `against` what keeps the writers from being changed.
    """

    writers: dict[str, Any] = field(default_factory=dict)
    stored: dict[str, None] = field(default_factory=dict)
    readers: list[Call] = field(default_factory=list)
    against: list[str] = field(default_factory=list)
    leaves: bool = False
    _values: set[int] = field(default_factory=set)


def stream_of(flow: Flow, norm: nn.Module) -> Stream:
    """The residual stream that a norm reads."""
    found = Stream()
    waiting = [call.inputs[0] for call in flow.calls_of(norm)]
    while waiting:
        value = waiting.pop()
        if value in found._values:
            continue
        found._values.add(value)
        waiting += _back(flow, found, value)
        waiting += _on(flow, found, value)
    for path, layer in found.writers.items():
        shared = flow.not_its_own(layer)
        if shared:
            found.against.append(f"{shown(path)}: {shared}")
    order = {id(call.module): place for place, call in reversed(list(enumerate(flow.calls)))}
    found.writers = dict(sorted(found.writers.items(), key=lambda item: order[id(item[1])]))
    return found


def _back(flow: Flow, found: Stream, value: int) -> list[int]:
    """The values that a value is a sum of; where it is none, note who writes it."""
    writer = flow.writer(value)
    if writer is not None and _is_sum(writer):
        return list(writer.inputs)
    if writer is not None and isinstance(writer.module, _WRITERS):
        found.writers[flow.path(writer.module)] = writer.module
        # What a writer gives alone is no sum yet: only sums may read it.
        return list(writer.outputs)
    name = _stored(flow, value)
    if name:
        found.stored[name] = None
    else:
        found.against.append(f"{flow.name(writer)} writes into the residual stream")
    return []


def _on(flow: Flow, found: Stream, value: int) -> list[int]:
    """The sums that a value joins; who reads it otherwise is noted."""
    readers, leaves = flow.readers(value)
    found.leaves = found.leaves or leaves
    sums = [call for call in readers if _is_sum(call)]
    found.readers += [call for call in readers if not _is_sum(call) and call not in found.readers]
    return [output for call in sums for output in call.outputs]


def _is_sum(call: Call) -> bool:
    return call.module is None and call.name == "add" and len(call.inputs) == 2


def _stored(flow: Flow, value: int) -> str:
    """The name of the parameter or buffer that a value is, or is cut from; empty when it is neither."""
    while value not in flow.stored:
        writer = flow.writing(value)
        if writer is None or writer.module is not None or writer.name not in _CUTS:
            return ""
        value = writer.inputs[0]
    return flow.stored[value]


def is_plain(layer: nn.Module) -> bool:
    """Whether a reader is a layer whose columns can be changed."""
    return isinstance(layer, LINEAR) and not isinstance(layer, _ConvTransposeNd)
