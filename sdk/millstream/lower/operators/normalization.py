"""Normalizations and softmax: a reduction or two, then one map."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import add, call, constant, divide, like, multiply, subtract
from millstream.lower.operators.movement import pad
from millstream.lower.operators.reduction import identity, p_norm, reduce_axes, square
from millstream.lower.view import View
from millstream_runtime.program import Expression


def _batch_normalization(builder: Builder, node: Node) -> View:
    """Scale and shift per channel, worked out in float64 from the trained statistics."""
    if node.attributes.get("training_mode", 0):
        raise Untranslatable("batch normalization in training mode", "call eval() before export")
    x = node.view(0)
    gain, bias, mean, variance = (node.known(i).astype(np.float64) for i in range(1, 5))
    scale = gain / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    shift = bias - mean * scale
    axes = (len(scale), *(1,) * (len(x.shape) - 2)) if len(x.shape) > 1 else (len(scale),)
    reads = [
        builder.read(builder.constant(v.astype(x.dtype).reshape(axes)).expand(x.shape))
        for v in (scale, shift)
    ]
    return builder.map(x.shape, add(multiply(builder.read(x), reads[0]), reads[1]))


@dataclass(frozen=True)
class Standardized:
    """(x - mean) * inverse, and the two statistics with their reduced axes kept at extent 1."""

    result: View
    mean: View
    inverse: View


def standardize(builder: Builder, x: View, axes: Sequence[int], epsilon: float) -> Standardized:
    """(x - mean) / sqrt(variance + epsilon), mean and variance over `axes`."""
    mean = _mean(builder, x, axes)
    centred = _centred(builder, x, mean)
    inverse = _inverse_root_mean_square(builder, centred, axes, epsilon)
    return Standardized(_scaled(builder, centred, inverse), mean, inverse)


def _mean(builder: Builder, x: View, axes: Sequence[int]) -> View:
    count = math.prod(x.shape[axis] for axis in axes)
    return reduce_axes(builder, x, axes, "sum", identity, lambda s: divide(s, like(count, s)))


def _centred(builder: Builder, x: View, mean: View) -> View:
    return builder.map(x.shape, subtract(builder.read(x), builder.read(mean.expand(x.shape))))


def _inverse_root_mean_square(builder: Builder, x: View, axes: Sequence[int], epsilon: float) -> View:
    count = math.prod(x.shape[axis] for axis in axes)

    def inverse_root(s: Expression) -> Expression:
        return divide(like(1, s), call("sqrt", add(divide(s, like(count, s)), like(epsilon, s))))

    return reduce_axes(builder, x, axes, "sum", square, inverse_root)


def _scaled(builder: Builder, x: View, factor: View) -> View:
    return builder.map(x.shape, multiply(builder.read(x), builder.read(factor.expand(x.shape))))


def _affine(builder: Builder, x: View, gain: View, bias: View | None) -> View:
    value = multiply(builder.read(x), builder.read(gain.expand(x.shape)))
    if bias is not None:
        value = add(value, builder.read(bias.expand(x.shape)))
    return builder.map(x.shape, value)


def _last_axes(node: Node, rank: int) -> range:
    return range(node.attributes.get("axis", -1) % rank, rank)


def _layer_normalization(builder: Builder, node: Node) -> list[View]:
    x = node.view(0)
    axes = _last_axes(node, len(x.shape))
    found = standardize(builder, x, axes, node.attributes.get("epsilon", 1e-5))
    return [_affine(builder, found.result, node.view(1), node.optional(2)), found.mean, found.inverse]


def _rms_normalization(builder: Builder, node: Node) -> View:
    x = node.view(0)
    axes = _last_axes(node, len(x.shape))
    inverse = _inverse_root_mean_square(builder, x, axes, node.attributes.get("epsilon", 1e-5))
    return _affine(builder, _scaled(builder, x, inverse), node.view(1), None)


def _instance_normalization(builder: Builder, node: Node) -> View:
    x = node.view(0)
    axes = range(2, len(x.shape))
    standard = standardize(builder, x, axes, node.attributes.get("epsilon", 1e-5))
    return _affine(builder, standard.result, *_per_channel(node, len(axes)))


def _group_normalization(builder: Builder, node: Node) -> View:
    x = node.view(0)
    groups = node.attributes["num_groups"]
    batch, channels, *spatial = x.shape
    grouped = builder.reshape(x, (batch, groups, channels // groups, *spatial))
    axes = range(2, len(grouped.shape))
    standard = standardize(builder, grouped, axes, node.attributes.get("epsilon", 1e-5))
    return _affine(builder, builder.reshape(standard.result, x.shape), *_per_channel(node, len(spatial)))


def _per_channel(node: Node, spatial: int) -> tuple[View, View]:
    """Gain and bias (channels,) with an axis of extent 1 for every spatial axis."""
    gain, bias = node.view(1), node.view(2)
    for _ in range(spatial):
        gain, bias = gain.insert(len(gain.shape)), bias.insert(len(bias.shape))
    return gain, bias


def _lp_normalization(builder: Builder, node: Node) -> View:
    x = node.view(0)
    norm = reduce_axes(
        builder, x, [node.attributes.get("axis", -1)], "sum", *p_norm(node.attributes.get("p", 2))
    )
    element, divisor = builder.read(x), builder.read(norm.expand(x.shape))
    is_zero = call("equal", divisor, like(0, divisor))
    return builder.map(x.shape, call("select", is_zero, like(0, element), divide(element, divisor)))


def _mean_variance_normalization(builder: Builder, node: Node) -> View:
    """Standardized over `axes`; ONNX's body adds 1e-9 to the deviation."""
    x = node.view(0)
    axes = node.attributes.get("axes", (0, 2, 3))
    centred = _centred(builder, x, _mean(builder, x, axes))
    count = math.prod(x.shape[axis] for axis in axes)

    def deviation(s: Expression) -> Expression:
        return add(call("sqrt", divide(s, like(count, s))), like(1e-9, s))

    spread = reduce_axes(builder, centred, axes, "sum", square, deviation).expand(x.shape)
    return builder.map(x.shape, divide(builder.read(centred), builder.read(spread)))


def _local_response_normalization(builder: Builder, node: Node) -> View:
    """x / (bias + alpha / size * sum of squares over `size` neighbouring channels)^beta."""
    x, size = node.view(0), node.attributes["size"]
    before = (size - 1) // 2
    rest = [0] * (len(x.shape) - 2)
    padded = pad(builder, x, (0, before, *rest), (0, size - 1 - before, *rest), 0)
    # Every channel sees `size` neighbours: an overlapping view, with one more axis to sum over.
    seen = padded.slice(1, 0, x.shape[1]).insert(len(x.shape))
    seen = replace(seen, shape=(*x.shape, size), strides=(*seen.strides[:-1], padded.strides[1]))
    scale = like(node.attributes.get("alpha", 1e-4) / size, constant(0, x.dtype))
    total = builder.reduce("sum", x.shape, [size], square(builder.read(seen)))
    base = add(like(node.attributes.get("bias", 1.0), scale), multiply(scale, builder.read(total)))
    power = call("power", base, like(node.attributes.get("beta", 0.75), scale))
    return builder.map(x.shape, divide(builder.read(x), power))


def _shifted(builder: Builder, x: View, axes: Sequence[int]) -> View:
    """x - max(x): the largest exponent becomes 0, so nothing overflows."""
    largest = reduce_axes(builder, x, axes, "max", identity, identity).expand(x.shape)
    return builder.map(x.shape, subtract(builder.read(x), builder.read(largest)))


def _softmax(builder: Builder, node: Node) -> View:
    x = node.view(0)
    axes = [node.attributes.get("axis", -1)]
    powers = builder.map(x.shape, call("exp", builder.read(_shifted(builder, x, axes))))
    total = reduce_axes(builder, powers, axes, "sum", identity, identity).expand(x.shape)
    return builder.map(x.shape, divide(builder.read(powers), builder.read(total)))


def _log_softmax(builder: Builder, node: Node) -> View:
    x = node.view(0)
    axes = [node.attributes.get("axis", -1)]
    shifted = _shifted(builder, x, axes)
    powers = builder.map(x.shape, call("exp", builder.read(shifted)))
    total = reduce_axes(builder, powers, axes, "sum", identity, lambda s: call("log", s))
    return builder.map(x.shape, subtract(builder.read(shifted), builder.read(total.expand(x.shape))))


OPERATORS: dict[str, Callable[[Builder, Node], View | list[View]]] = {
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "RMSNormalization": _rms_normalization,
    "InstanceNormalization": _instance_normalization,
    "GroupNormalization": _group_normalization,
    "MeanVarianceNormalization": _mean_variance_normalization,
    "LRN": _local_response_normalization,
    "LpNormalization": _lp_normalization,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
}
