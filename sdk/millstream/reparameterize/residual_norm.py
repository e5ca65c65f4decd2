"""A norm that nothing linear follows folds backward, through the residual stream that it reads.

Where the stream x is a sum, the norm a x + c of it is the same sum of what a times every writer gives, plus
c once. So every writer of the stream is scaled by a, the one at its root adds c, and whoever else reads the
stream takes (x - c) / a of it. SLAB folds its last norm in this way, which pooling follows.

Needs: fixed statistics, a without zeros, writers that are linear, convolutional or embedding layers with
weights of their own, other readers linear or batch norms: a LayerNorm left on the stream is refused. Gives:
no norm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from millstream.reparameterize.batch_norm import (
    Affine,
    affine_of,
    channels_out,
    layers_after,
    not_fixed,
    padded,
    scale_inputs,
    scale_outputs,
)
from millstream.reparameterize.candidate import Candidate, joined, part, put
from millstream.reparameterize.flow import BATCH_NORM, Flow, shown
from millstream.reparameterize.layers import ChannelAffine
from millstream.reparameterize.residual import Stream, is_plain, stream_of


def residual_norm(root: nn.Module, flow: Flow) -> Iterable[Candidate]:
    """Every batch norm that reads a sum and that no layer takes."""
    for path, norm in flow.layers(BATCH_NORM):
        if not not_fixed(norm) and not layers_after(flow, norm, beside_zeros=True)[0]:
            stream = stream_of(flow, norm)
            if len(stream.writers) + len(stream.stored) > 1:
                yield _candidate(flow, path, norm, stream)


def _candidate(flow: Flow, path: str, norm: nn.Module, stream: Stream) -> Candidate:
    where = shown(path)
    affine = affine_of(norm)
    others = {id(call.module): call for call in stream.readers if call.module is not norm}
    reasons = list(stream.against)
    if not stream.writers:
        reasons.append("no layer writes into the residual stream")
    if stream.leaves:
        reasons.append("the residual stream leaves the module")
    if not affine.scale.all():
        reasons.append("channels of scale 0 cannot be divided out for the other readers")
    for call in others.values():
        fits = call.module is not None and (is_plain(call.module) or isinstance(call.module, BATCH_NORM))
        if not fits:
            reasons.append(f"{flow.name(call)} also reads the residual stream and cannot take it")
        elif padded(call.module):
            reasons.append(f"{flow.name(call)} pads the residual stream with zeros")
    if any(_channels(layer) != len(affine.scale) for layer in stream.writers.values()):
        reasons.append("the norm runs over another axis than the writers' channels")
    if reasons:
        return Candidate(where, why=joined(reasons))
    writers, readers = (
        list(stream.writers),
        [flow.path(call.module) for call in others.values() if call.module],
    )
    names = ", ".join(map(shown, (*writers, *stream.stored)))
    return Candidate(
        f"{where} -> {names}", lambda root: _fold(root, path, writers, list(stream.stored), readers)
    )


def _fold(root: nn.Module, path: str, writers: list[str], stored: list[str], readers: list[str]) -> None:
    affine = affine_of(part(root, path))
    bare = Affine(affine.scale, torch.zeros_like(affine.shift))
    for place, writer in enumerate(writers):
        _scale_writer(part(root, writer), bare if place else affine)
    for name in stored:
        owner, _, own = name.rpartition(".")
        tensor = getattr(part(root, owner), own)
        tensor.data = (tensor.double() * affine.scale).to(tensor.dtype)
    back = Affine(1 / affine.scale, -affine.shift / affine.scale)
    for reader in readers:
        _take(root, reader, back)
    put(root, path, nn.Identity())


def _take(root: nn.Module, path: str, back: Affine) -> None:
    """Make a reader of the stream compute what it computed of back.scale * x + back.shift."""
    reader = part(root, path)
    if is_plain(reader):
        scale_inputs(reader, back)
        return
    own = affine_of(reader)
    scale, shift = own.scale * back.scale, own.scale * back.shift + own.shift
    dtype = next(reader.parameters()).dtype
    put(root, path, ChannelAffine(scale.to(dtype), shift.to(dtype), axis=-1))


def _channels(layer: Any) -> int:
    return layer.embedding_dim if isinstance(layer, nn.Embedding) else channels_out(layer)


def _scale_writer(layer: Any, affine: Affine) -> None:
    if isinstance(layer, nn.Embedding):
        weight = layer.weight.double() * affine.scale + affine.shift
        layer.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
    else:
        scale_outputs(layer, affine)
