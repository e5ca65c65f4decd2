"""LayerNorm becomes RMSNorm where the residual stream that it reads has no mean, which its writers see to.

With every writer's weight and bias multiplied by I - 1 1^T / d, no sum of them has a mean to subtract, and
LayerNorm's variance is the mean square. Whoever reads the stream must subtract the mean itself, which only
LayerNorms do.

Needs: all readers of the stream LayerNorms (their gain and shift may be folded or not), writers that are
linear, convolutional or embedding layers with weights of their own. Gives: one reduction less in every norm.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from millstream.reparameterize.candidate import Candidate, joined, part, put, set_parameters
from millstream.reparameterize.flow import Flow, shown
from millstream.reparameterize.layers import ChannelAffine
from millstream.reparameterize.residual import Stream, stream_of


def centring(root: nn.Module, flow: Flow) -> Iterable[Candidate]:
    """Every residual stream that a LayerNorm reads, once."""
    seen: set[str] = set()
    for path, norm in flow.layers((nn.LayerNorm,)):
        if path not in seen:
            stream = stream_of(flow, norm)
            norms = {flow.path(call.module): call.module for call in stream.readers if call.module}
            seen.update(norms)
            yield _candidate(flow, path, norms, stream)


def _candidate(flow: Flow, path: str, readers: Iterable[str], stream: Stream) -> Candidate:
    reasons = list(stream.against)
    if stream.leaves:
        reasons.append("the residual stream leaves the module")
    reasons += [
        f"{flow.name(call)} also reads the residual stream and would miss its mean"
        for call in stream.readers
        if type(call.module) is not nn.LayerNorm
    ]
    if any(isinstance(layer, _ConvTransposeNd) for layer in stream.writers.values()):
        reasons.append("a transposed convolution writes into the residual stream")
    if reasons:
        return Candidate(shown(path), why=joined(reasons))
    norms, writers, stored = list(readers), list(stream.writers), list(stream.stored)
    where = f"{', '.join(map(shown, norms))} -> {', '.join(map(shown, (*writers, *stored)))}"
    return Candidate(where, lambda root: _fold(root, norms, writers, stored))


def _fold(root: nn.Module, norms: list[str], writers: list[str], stored: list[str]) -> None:
    for path in writers:
        layer = part(root, path)
        if isinstance(layer, nn.Embedding):
            layer.weight = nn.Parameter(_centred(layer.weight, 1), requires_grad=False)
        else:
            bias = None if layer.bias is None else _centred(layer.bias, 0)
            set_parameters(layer, _centred(layer.weight, 0), bias)
    for name in stored:
        owner, _, own = name.rpartition(".")
        tensor = getattr(part(root, owner), own)
        tensor.data = _centred(tensor, -1)
    for path in norms:
        norm = part(root, path)
        rms: nn.Module = nn.RMSNorm(norm.normalized_shape, norm.eps, norm.elementwise_affine)
        if norm.elementwise_affine:
            rms.weight = norm.weight
        if norm.bias is not None:
            rms = nn.Sequential(rms, ChannelAffine(None, norm.bias.detach(), axis=-1))
        put(root, path, rms)


def _centred(value: Tensor, axis: int) -> Tensor:
    exact = value.detach().to(torch.float64)
    return (exact - exact.mean(axis, keepdim=True)).to(value.dtype)
