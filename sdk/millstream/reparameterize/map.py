"""Linear maps of one value: the algebra of composing and adding linear and convolutional layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from millstream.reparameterize.batch_norm import Affine


class NoMap(Exception):
    """Two maps that do not make one; the text says why."""


_ONE = torch.ones(1, dtype=torch.float64)


@dataclass(frozen=True)
class Map:
    """y = weight * x + bias, where * is a convolution over `dims` axes, or a product of matrices.

    Attributes:
        weight: (out, in, *kernel) float64, without a kernel where `dims` is 0; None for scale * x.
        bias: (out,) float64, or None for zero.
        padding, stride: per axis of the kernel.
        groups: independent groups of channels; 0 where every channel stands alone.
        scale: a number, or (channels,), while no layer says along which axes the map runs.
        parts: the paths of the layers and parameters that it is made of.
        layered: whether a linear or convolutional layer is among them.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None
    padding: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    groups: int = 0
    scale: Tensor = _ONE
    parts: tuple[str, ...] = ()
    layered: bool = False

    @property
    def kernel(self) -> Tensor:
        """The weight of a map that has one. Raises NoMap."""
        if self.weight is None:
            raise NoMap("a multiple of x has no weight")
        return self.weight

    @property
    def dims(self) -> int:
        """Axes that a convolution runs over."""
        return 0 if self.weight is None else self.weight.dim() - 2

    def sized(self, channels: int, dims: int = 0) -> Map:
        """The same map with its weight written out. Raises NoMap."""
        if self.weight is not None:
            return self
        if self.scale.numel() not in (1, channels):
            raise NoMap("they run over different axes")
        weight = torch.diag(self.scale.expand(channels)).reshape(channels, channels, *(1,) * dims)
        return replace(self, weight=weight, padding=(0,) * dims, stride=(1,) * dims)

    def made_of(self, *paths: str) -> Map:
        """The map with further parts."""
        return replace(self, parts=tuple(dict.fromkeys((*self.parts, *paths))))


def of_layer(layer: Any) -> Map:
    """The map of a linear or convolutional layer. Raises NoMap."""
    weight, bias = layer.weight.double(), layer.bias
    bias = None if bias is None else bias.double()
    if not isinstance(layer, _ConvNd):
        return Map(weight, bias, groups=1, layered=True)
    if layer.transposed or layer.padding_mode != "zeros" or any(n != 1 for n in layer.dilation):
        raise NoMap("only plain convolutions, padded with zeros and not dilated, are merged")
    return Map(_dense(weight, layer.groups), bias, _padding(layer), layer.stride, layer.groups, layered=True)


def compose(before: Map, after: Map) -> Map:
    """after(before(x)). Raises NoMap."""
    before = before.sized(after.kernel.shape[1], after.dims)
    if before.dims != after.dims:
        raise NoMap("a linear layer and a convolution run over different axes")
    if before.kernel.shape[0] != after.kernel.shape[1]:
        raise NoMap("they run over different axes")
    pointwise = math.prod(after.kernel.shape[2:]) == 1 and not any(after.padding)
    if pointwise and all(n == 1 for n in after.stride):
        weight = torch.einsum("om,mi...->oi...", after.kernel.flatten(1), before.kernel)
        padding, stride = before.padding, before.stride
    elif math.prod(before.kernel.shape[2:]) == 1 and not any(before.padding) and set(before.stride) <= {1}:
        if any(after.padding) and before.bias is not None and before.bias.any():
            raise NoMap(
                "a convolution that pads with zeros reads a map with a bias: its borders would differ"
            )
        weight = torch.einsum("om...,mi->oi...", after.kernel, before.kernel.flatten(1))
        padding, stride = after.padding, after.stride
    else:
        raise NoMap("two convolutions wider than one in a row would become a wider one")
    bias = after.bias
    if before.bias is not None:
        summed = after.kernel.flatten(2).sum(2) if after.dims else after.kernel
        bias = _sum(after.bias, summed @ before.bias)
    return Map(
        weight,
        bias,
        padding,
        stride,
        groups=math.gcd(before.groups, after.groups),
        parts=tuple(dict.fromkeys((*before.parts, *after.parts))),
        layered=True,
    )


def add(a: Map, b: Map) -> Map:
    """a(x) + b(x). Raises NoMap."""
    parts = tuple(dict.fromkeys((*a.parts, *b.parts)))
    if a.weight is None and b.weight is None:
        return Map(bias=_sum(a.bias, b.bias), scale=a.scale + b.scale, parts=parts)
    sized = b if a.weight is None else a
    channels, dims = sized.kernel.shape[1], sized.dims
    a, b = a.sized(channels, dims), b.sized(channels, dims)
    if a.kernel.shape[:2] != b.kernel.shape[:2] or a.dims != b.dims or a.stride != b.stride:
        raise NoMap("the branches have different channels or strides")
    padding = tuple(map(max, a.padding, b.padding))
    first, second = _widened(a, padding), _widened(b, padding)
    if first.shape != second.shape:
        raise NoMap("the branches are not centred on each other")
    groups = math.gcd(a.groups, b.groups)
    layered = a.layered or b.layered
    return Map(first + second, _sum(a.bias, b.bias), padding, a.stride, groups, _ONE, parts, layered)


def affine(before: Map, after: Affine) -> Map:
    """after.scale * before(x) + after.shift per channel. Raises NoMap."""
    bias = after.shift if before.bias is None else after.scale * before.bias + after.shift
    if before.weight is None:
        return replace(before, scale=after.scale * before.scale, bias=bias)
    if before.weight.shape[0] != len(after.scale):
        raise NoMap("the affine runs over another axis")
    scale = after.scale.reshape(-1, *(1,) * (before.weight.dim() - 1))
    return replace(before, weight=scale * before.weight, bias=bias)


def scaled(before: Map, factor: float) -> Map:
    """factor * before(x)."""
    return replace(
        before,
        weight=None if before.weight is None else factor * before.weight,
        bias=None if before.bias is None else factor * before.bias,
        scale=factor * before.scale,
    )


def layer_of(found: Map, dtype: torch.dtype) -> nn.Module:
    """The one layer that computes the map, its weights cast once."""
    weight = found.kernel
    outputs, inputs = weight.shape[:2]
    biased = found.bias is not None
    if found.dims == 0:
        layer: Any = nn.Linear(inputs, outputs, biased, dtype=dtype)
    else:
        kinds = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
        groups = found.groups or math.gcd(inputs, outputs)
        options = {"stride": found.stride, "padding": found.padding, "groups": groups, "bias": biased}
        layer = kinds[found.dims](inputs, outputs, tuple(weight.shape[2:]), dtype=dtype, **options)
        weight = _grouped(weight, groups)
    layer.weight = nn.Parameter(weight.to(dtype).contiguous(), requires_grad=False)
    if found.bias is not None:
        layer.bias = nn.Parameter(found.bias.to(dtype), requires_grad=False)
    return layer


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def _padding(layer: _ConvNd) -> tuple[int, ...]:
    if layer.padding == "valid":
        return (0,) * len(layer.kernel_size)
    if layer.padding == "same":
        if not all(n % 2 for n in layer.kernel_size):
            raise NoMap("an even kernel pads more on one side")
        return tuple(n // 2 for n in layer.kernel_size)
    return tuple(int(n) for n in layer.padding)


def _widened(found: Map, padding: tuple[int, ...]) -> Tensor:
    """The kernel with zeros around it, so that it reads the same frames at a wider padding."""
    widths = [wide - own for wide, own in zip(padding, found.padding, strict=True)]
    return nn.functional.pad(found.kernel, [n for width in reversed(widths) for n in (width, width)])


def _dense(weight: Tensor, groups: int) -> Tensor:
    """(out, in / groups, ...) to (out, in, ...) with zeros between the groups."""
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    dense = weight.new_zeros(weight.shape[0], columns * groups, *weight.shape[2:])
    for g in range(groups):
        dense[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] = weight[g * rows : (g + 1) * rows]
    return dense


def _grouped(weight: Tensor, groups: int) -> Tensor:
    """The reverse of `_dense`."""
    rows, columns = weight.shape[0] // groups, weight.shape[1] // groups
    return torch.cat(
        [weight[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] for g in range(groups)]
    )
