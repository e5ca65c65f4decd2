"""Projections of attention that only meet in a product become one.

Scores: (Wq x + bq)^T (Wk y) = (Wk^T (Wq x + bq))^T y, so keys need no projection. Values: Wo (A (Wv y)) =
(Wo Wv) (A y), whatever the weights A are, so values need none. A cache then holds y itself.

Needs: one head over all channels, keys and values without bias (weights need not sum to one, and scores
may not pass through softmax), projections that are read by nothing else. Gives: one projection less for
each, kept where that is fewer multiplications: where the head is wider than half of the model.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from millstream.reparameterize.candidate import Candidate, joined, part, put
from millstream.reparameterize.flow import Call, Flow, shown
from millstream.reparameterize.idle_feed_forward import linear

_PRODUCTS = ("bmm", "mm")
_SCALES = ("mul", "div")


def scores(root: nn.Module, flow: Flow) -> Iterable[Candidate]:
    """Every product of what two linear layers give."""
    seen: set[str] = set()
    for call in flow.calls:
        pair = [_projection(flow, value) for value in call.inputs[:2]] if call.name in _PRODUCTS else []
        if len(pair) == 2 and pair[0] and pair[1]:
            query, key = (flow.path(layer) for layer in pair if layer)
            if key not in seen:
                seen.add(key)
                yield _scores(flow, call, query, key)


def _scores(flow: Flow, call: Call, query: str, key: str) -> Candidate:
    where = f"{shown(query)} + {shown(key)}"
    q, k = part(flow.root, query), part(flow.root, key)
    reasons = [reason for layer in (q, k) if (reason := flow.not_its_own(layer))]
    if q is k:
        reasons.append("both sides come from one layer")
    if k.bias is not None and k.bias.any():
        reasons.append(f"{shown(key)} has a bias, which would add to every score")
    first, second = (flow.shapes[value] for value in call.inputs[:2])
    if first[-1] != q.out_features or second[-2] != k.out_features:
        reasons.append("they are split into heads, each with a product of its own")
    for layer, side in ((q, 0), (k, 1)):
        reasons += _only_into(flow, layer, side)
    if reasons:
        return Candidate(where, why=joined(reasons))
    return Candidate(where, lambda root: _fold_scores(root, query, key))


def _fold_scores(root: nn.Module, query: str, key: str) -> None:
    q, k = part(root, query), part(root, key)
    turn = k.weight.double().T
    bias = None if q.bias is None else turn @ q.bias.double()
    put(root, query, linear(turn @ q.weight.double(), bias, q.weight.dtype))
    put(root, key, nn.Identity())


def values(root: nn.Module, flow: Flow) -> Iterable[Candidate]:
    """Every product whose right side a linear layer gives and that another linear layer reads."""
    seen: set[str] = set()
    for call in flow.calls:
        value = _projection(flow, call.inputs[1]) if call.name in _PRODUCTS and len(call.inputs) > 1 else None
        readers, leaves = flow.readers(call.outputs[0]) if value else ([], True)
        if not value or leaves or len(readers) != 1 or type(readers[0].module) is not nn.Linear:
            continue
        path = flow.path(value)
        if path not in seen:
            seen.add(path)
            yield _values(flow, call, path, flow.path(readers[0].module))


def _values(flow: Flow, call: Call, value: str, out: str) -> Candidate:
    where = f"{shown(value)} + {shown(out)}"
    v, o = part(flow.root, value), part(flow.root, out)
    reasons = [reason for layer in (v, o) if (reason := flow.not_its_own(layer))]
    if v.bias is not None and v.bias.any():
        reasons.append(f"{shown(value)} has a bias, and weights need not sum to one")
    if flow.shapes[call.outputs[0]][-1] != v.out_features:
        reasons.append("they are split into heads, each with a product of its own")
    reasons += _only_into(flow, v, 1)
    for reading in flow.calls_of(o):
        writer = flow.writer(reading.inputs[0])
        if writer is None or writer.name not in _PRODUCTS or _projection(flow, writer.inputs[1]) is not v:
            reasons.append(f"{shown(out)} also reads {flow.name(writer)}")
    if reasons:
        return Candidate(where, why=joined(reasons))
    return Candidate(where, lambda root: _fold_values(root, value, out))


def _fold_values(root: nn.Module, value: str, out: str) -> None:
    v, o = part(root, value), part(root, out)
    bias = None if o.bias is None else o.bias.double()
    put(root, out, linear(o.weight.double() @ v.weight.double(), bias, o.weight.dtype))
    put(root, value, nn.Identity())


def _projection(flow: Flow, value: int) -> nn.Linear | None:
    """The one linear layer that a side of a product comes from, through scales by numbers and caches."""
    found: set[nn.Module] = set()
    waiting = [value]
    while waiting:
        for writer in flow.writers(waiting.pop()):
            if writer is not None and writer.module is None and _scales(writer):
                waiting.append(writer.inputs[0])
            elif writer is None or type(writer.module) is not nn.Linear:
                return None
            else:
                found.add(writer.module)
    return next(iter(found)) if len(found) == 1 else None  # type: ignore[return-value]


def _only_into(flow: Flow, layer: nn.Module, side: int) -> list[str]:
    """Who reads a projection otherwise than on its side of a product."""
    reasons: list[str] = []
    waiting = [output for call in flow.calls_of(layer) for output in call.outputs]
    while waiting:
        readers, leaves = flow.readers(waiting.pop(), beside_zeros=True)
        if leaves:
            reasons.append(f"{shown(flow.path(layer))} leaves the module")
        for reader in readers:
            if reader.module is None and _scales(reader):
                waiting += reader.outputs
            elif reader.name not in _PRODUCTS or _projection(flow, reader.inputs[side]) is not layer:
                reasons.append(f"{flow.name(reader)} also reads {shown(flow.path(layer))}")
    return reasons


def _scales(call: Call) -> bool:
    return call.name in _SCALES and len(call.inputs) == 1
