"""Batch normalisation with fixed statistics folds into the layer before it, or into the layers after it.

y = a x + c with a = gamma / sqrt(var + eps), c = beta - a mean, per channel. After a layer: its rows are
scaled by a, its bias becomes a b + c. Before layers: their columns are scaled by a, and W c joins their
bias. Where zeros stand beside what the norm gives (padding, the ring of a stream that starts, the
frames after its end) W c may not be added for them, so there the shift stays, as c / a added to x: zeros
remain zeros when the scale moves into the weights, and the borders stay exact.

Needs: statistics that are kept and fixed (evaluation mode), nothing between norm and layer, no other reader
of what is folded away, weights of their own. Gives: no norm at all, or one addition per number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from millstream.reparameterize.candidate import Candidate, joined, part, put, set_parameters
from millstream.reparameterize.flow import BATCH_NORM, LINEAR, Flow, shown
from millstream.reparameterize.layers import ChannelAffine


@dataclass(frozen=True)
class Affine:
    """y = scale * x + shift per channel, in float64."""

    scale: Tensor
    shift: Tensor


def batch_norm(root: nn.Module, flow: Flow) -> Iterable[Candidate]:
    """Every batch norm, or affine that another rewrite left, that was called."""
    for path, norm in flow.layers(BATCH_NORM):
        if isinstance(norm, ChannelAffine) and norm.scale is None:
            continue  # what this very rewrite leaves before a padded convolution
        yield _candidate(flow, path, norm)


def affine_of(norm: Any) -> Affine:
    """The affine that a norm with fixed statistics computes, in float64."""
    if isinstance(norm, ChannelAffine):
        shift = norm.shift.double()
        return Affine(torch.ones_like(shift) if norm.scale is None else norm.scale.double(), shift)
    mean, var = norm.running_mean.double(), norm.running_var.double()
    scale = torch.rsqrt(var + norm.eps)
    shift = -mean * scale
    if norm.affine:
        gamma, beta = norm.weight.double(), norm.bias.double()
        scale, shift = scale * gamma, shift * gamma + beta
    return Affine(scale, shift)


def not_fixed(norm: Any) -> str:
    """Why the norm is no fixed affine; empty when it is."""
    if isinstance(norm, ChannelAffine):
        return ""
    if norm.running_mean is None:
        return "it keeps no running statistics, so it normalises each batch by itself"
    return "it stays in training mode, so it normalises each batch by itself" if norm.training else ""


def _candidate(flow: Flow, path: str, norm: nn.Module) -> Candidate:
    where = shown(path)
    unfit = not_fixed(norm)
    if unfit:
        return Candidate(where, why=unfit)
    layer, against_before = _layer_before(flow, norm)
    if layer is not None:
        before = flow.path(layer)
        return Candidate(f"{shown(before)} + {where}", lambda root: _fold_before(root, before, path))
    affine = affine_of(norm)
    layers, against_after = layers_after(flow, norm)
    whole = bool(layers) and not any(map(padded, layers))
    if not whole:
        layers, against_after = layers_after(flow, norm, beside_zeros=True)
    if any(channels_in(layer) != len(affine.scale) for layer in layers):
        layers, against_after = [], "the norm runs over another axis than the layers that read it"
    if layers and not whole and not affine.scale.all():
        against_after = "channels of scale 0 have no value that becomes the zero of the padding"
        layers = []
    if layers:
        after = [flow.path(each) for each in layers]
        names = ", ".join(map(shown, after))
        fold = _fold_after if whole else _fold_scale_after
        return Candidate(f"{where} + {names}", lambda root: fold(root, path, after))
    return Candidate(where, why=joined([f"before it: {against_before}", f"after it: {against_after}"]))


def _layer_before(flow: Flow, norm: nn.Module) -> tuple[Any, str]:
    """The one layer whose every output goes through the norm and nowhere else, or why there is none."""
    writers = [flow.writer(call.inputs[0]) for call in flow.calls_of(norm)]
    modules = {id(w.module) if w else None: w for w in writers}
    if len(modules) > 1:
        return None, f"it normalises what {flow.names(writers)} write"
    writer = writers[0]
    if writer is None or not isinstance(writer.module, LINEAR):
        return None, f"{flow.name(writer)} is no linear or convolutional layer"
    layer = writer.module
    for call in flow.calls_of(layer):
        readers, leaves = flow.readers(call.outputs[0])
        others = [reader for reader in readers if reader.module is not norm]
        if leaves or others:
            told = [flow.name(reader) for reader in others] + ["the outside"] * leaves
            return None, f"{flow.name(writer)} is also read by {', '.join(dict.fromkeys(told))}"
    shared = flow.not_its_own(layer)
    if shared:
        return None, f"{flow.name(writer)}: {shared}"
    if channels_out(layer) != len(affine_of(norm).scale):
        return None, "the norm runs over another axis than the channels of the layer"
    return layer, ""


def layers_after(flow: Flow, norm: nn.Module, beside_zeros: bool = False) -> tuple[list[Any], str]:
    """All layers that read a norm, when they read nothing else and nothing else reads it; or why not.

    With `beside_zeros` they may read it out of a padded window or a ring of past frames.
    """
    found: dict[int, Any] = {}
    for call in flow.calls_of(norm):
        readers, leaves = flow.readers(call.outputs[0], beside_zeros)
        if leaves:
            return [], "it leaves the module"
        for reader in readers:
            if not isinstance(reader.module, LINEAR) or isinstance(reader.module, _ConvTransposeNd):
                return [], f"{flow.name(reader)} reads it and cannot take it"
            found[id(reader.module)] = reader.module
    reasons = [_against_reader(flow, norm, layer, beside_zeros) for layer in found.values()]
    if any(reasons):
        return [], joined(list(filter(None, reasons)))
    return list(found.values()), "" if found else "nothing reads it"


def _against_reader(flow: Flow, norm: nn.Module, layer: nn.Module, beside_zeros: bool) -> str:
    """Why a layer that reads the norm cannot take it; empty when it can."""
    name = shown(flow.path(layer))
    for call in flow.calls_of(layer):
        value = call.inputs[0]
        writers = flow.writers(value) if beside_zeros else [flow.writer(value)]
        others = [w for w in writers if w is None or w.module is not norm]
        if others:
            return f"{name} also reads {flow.names(others)}"
    shared = flow.not_its_own(layer)
    return f"{name}: {shared}" if shared else ""


def _fold_before(root: nn.Module, layer_path: str, norm_path: str) -> None:
    layer, affine = part(root, layer_path), affine_of(part(root, norm_path))
    scale_outputs(layer, affine)
    put(root, norm_path, nn.Identity())


def _fold_after(root: nn.Module, norm_path: str, layer_paths: list[str]) -> None:
    affine = affine_of(part(root, norm_path))
    for path in layer_paths:
        scale_inputs(part(root, path), affine)
    put(root, norm_path, nn.Identity())


def _fold_scale_after(root: nn.Module, norm_path: str, layer_paths: list[str]) -> None:
    norm = part(root, norm_path)
    affine = affine_of(norm)
    for path in layer_paths:
        scale_inputs(part(root, path), Affine(affine.scale, torch.zeros_like(affine.shift)))
    dtype = next(part(root, layer_paths[0]).parameters()).dtype
    put(root, norm_path, ChannelAffine(None, (affine.shift / affine.scale).to(dtype), _axis(norm)))


def padded(layer: Any) -> bool:
    """Whether a layer reads zeros beside its input."""
    if not isinstance(layer, _ConvNd):
        return False
    return (
        layer.padding != "valid"
        and layer.padding_mode == "zeros"
        and layer.padding != (0,) * len(layer.kernel_size)
    )


def channels_out(layer: Any) -> int:
    """Channels that a layer writes."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def channels_in(layer: Any) -> int:
    """Channels that a layer reads."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def scale_outputs(layer: Any, affine: Affine) -> None:
    """Make the layer compute scale * y + shift, in place."""
    weight = layer.weight.double()
    if isinstance(layer, _ConvTransposeNd):
        # (in, out / groups, kernel): the output channels of each group stand on the second axis.
        grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
        scale = affine.scale.reshape(layer.groups, 1, -1, *(1,) * (weight.dim() - 2))
        weight = (grouped * scale).reshape(weight.shape)
    else:
        weight = weight * affine.scale.reshape(-1, *(1,) * (weight.dim() - 1))
    bias = affine.shift if layer.bias is None else affine.scale * layer.bias.double() + affine.shift
    set_parameters(layer, weight, bias)


def scale_inputs(layer: Any, affine: Affine) -> None:
    """Make the layer compute what it computed of scale * x + shift, in place; its padding is not touched."""
    weight = layer.weight.double()
    groups = getattr(layer, "groups", 1)
    # (out, in / groups, kernel): each group of rows reads channels of its own.
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    per_group = (groups, 1, -1, *(1,) * (weight.dim() - 2))
    added = (grouped * affine.shift.reshape(per_group)).flatten(2).sum(2).flatten()
    scaled = (grouped * affine.scale.reshape(per_group)).reshape(weight.shape)
    old = torch.zeros_like(added) if layer.bias is None else layer.bias.double()
    bias = old + added
    set_parameters(layer, scaled, None if layer.bias is None and not added.any() else bias)


def _axis(norm: nn.Module) -> int:
    if isinstance(norm, ChannelAffine):
        return norm.axis
    return 1 if type(norm).__module__.startswith("torch.nn") else -1
