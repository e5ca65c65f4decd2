"""The gain and shift of a LayerNorm or RMSNorm move into the layers that read it.

W (g n + b) + c = (W Diag(g)) n + (c + W b), where n is what the norm gives without gain and shift.

Needs: every reader a linear layer or a convolution without padding that reads nothing else; weights of
their own; a norm over the channels alone. Gives: one multiplication per number less, and no parameters in
the norm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from millstream.reparameterize.batch_norm import Affine, channels_in, layers_after, padded, scale_inputs
from millstream.reparameterize.candidate import Candidate, part, put
from millstream.reparameterize.flow import Flow, shown

NORMS = (nn.LayerNorm, nn.RMSNorm)


def layer_norm(root: nn.Module, flow: Flow) -> Iterable[Candidate]:
    """Every layer or RMS norm with a gain that was called."""
    for path, norm in flow.layers(NORMS):
        if norm.weight is not None:
            yield _candidate(flow, path, norm)


def _candidate(flow: Flow, path: str, norm: Any) -> Candidate:
    where = shown(path)
    if type(norm) not in NORMS:
        return Candidate(where, why=f"{type(norm).__name__} may do more than the norm that it extends")
    if len(norm.normalized_shape) != 1:
        return Candidate(where, why="it normalises over more than the channels")
    layers, why = layers_after(flow, norm)
    if not layers:
        return Candidate(where, why=why)
    if any(padded(layer) for layer in layers):
        return Candidate(where, why="a convolution that reads it pads with zeros, which have no shift")
    if any(channels_in(layer) != len(norm.weight) for layer in layers):
        return Candidate(where, why="the layers that read it run over another axis")
    after = [flow.path(layer) for layer in layers]
    names = ", ".join(map(shown, after))
    return Candidate(f"{where} + {names}", lambda root: _fold(root, path, after))


def _fold(root: nn.Module, path: str, layer_paths: list[str]) -> None:
    norm = part(root, path)
    gain = norm.weight.double()
    bias = getattr(norm, "bias", None)
    affine = Affine(gain, torch.zeros_like(gain) if bias is None else bias.double())
    for layer in layer_paths:
        scale_inputs(part(root, layer), affine)
    bare = type(norm)(norm.normalized_shape, norm.eps, elementwise_affine=False)
    put(root, path, bare)
