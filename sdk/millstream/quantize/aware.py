"""Training with the rounding that the export will do: layers compute with rounded weights and activations,
and gradients pass the roundings as if they were not there.

    model = aware(model, INT4)       # a copy that trains on
    ...                              # train as before
    model = settled(model)           # ordinary layers whose weights lie on the integers' steps
    millstream.export(model, example, format=FORMATS["w4"], reparameterize=False)

The integers of the export are then those of the last training step. Folding is left out because a norm folded
into a weight would move it off its steps.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from millstream.errors import NothingToQuantize
from millstream.quantize.dynamic import TINY
from millstream.quantize.product import FEWEST_WEIGHTS, SHORTEST
from millstream.quantize.rounding import LARGEST, LARGEST_INT4, LARGEST_INT16

M = TypeVar("M", bound=nn.Module)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
#: Bits that a step of int4 leaves empty, so that 7 of them are exact, and so is a seventh of that.
_EMPTY_BITS = 4


class Int4Weight(nn.Module):
    """A weight on the steps of int4, one step for each output: a seventh of its largest magnitude."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weight (outputs, ...) rounded; its gradient is that of the rounded one."""
        largest = weight.detach().abs().flatten(1).amax(1)
        step = _shortened(largest / LARGEST_INT4).clamp_min(torch.finfo(weight.dtype).tiny)
        step = step.reshape(-1, *[1] * (weight.ndim - 1))
        return _passed(weight, (weight / step).round().clamp(-LARGEST_INT4, LARGEST_INT4) * step)


class TernaryWeight(nn.Module):
    """A weight of -a, 0 and a, where a is its mean magnitude: BitNet b1.58 (arXiv 2402.17764)."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weight rounded; its gradient is that of the rounded one."""
        mean = weight.detach().abs().mean().clamp_min(torch.finfo(weight.dtype).tiny)
        return _passed(weight, (weight / mean).round().clamp(-1, 1) * mean)


class PowerOfTwoWeight(nn.Module):
    """A weight on the steps that a narrowed fixed-point step gives it: for each output the finest power of
    two with which its largest magnitude has so many bits."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self._most = (1 << (bits - 1)) - 1

    def forward(self, weight: Tensor) -> Tensor:
        """The weight (outputs, ...) rounded; its gradient is that of the rounded one."""
        step = _power_of_two(weight.detach().abs().flatten(1).amax(1), self._most)
        step = step.reshape(-1, *[1] * (weight.ndim - 1))
        return _passed(weight, (weight / step).round() * step)


class Int16Bias(nn.Module):
    """A bias on the steps of int16 that `beside` gives it."""

    def forward(self, bias: Tensor) -> Tensor:
        """The bias (outputs,) rounded; its gradient is that of the rounded one."""
        step = _power_of_two(bias.detach().abs().amax(), LARGEST_INT16)
        return _passed(bias, (bias / step).round() * step)


@dataclass(frozen=True)
class Training:
    """What is rounded in training: `weight` makes the module that rounds a weight; activations are rounded to
    int8, with a scale for each row, where the format does so."""

    weight: type[nn.Module]
    activations: bool


#: For the format `w4`.
INT4 = Training(Int4Weight, activations=False)
#: For `w4a8`.
INT4_INT8 = Training(Int4Weight, activations=True)
#: For `ternary`.
TERNARY = Training(TernaryWeight, activations=True)


def aware(model: nn.Module, training: Training) -> nn.Module:
    """A copy of the model whose linear and convolutional layers compute as the quantized step will.

    Layers that the export leaves in float because they are small are left alone. Raises NothingToQuantize
    where no layer is left.
    """
    copied = copy.deepcopy(model)
    layers = [layer for layer in copied.modules() if isinstance(layer, _LAYERS) and _worth_it(layer.weight)]
    if not layers:
        raise NothingToQuantize(
            "no layer of the model is worth quantizing",
            why=f"none of {', '.join(kind.__name__ for kind in _LAYERS)} has {FEWEST_WEIGHTS} weights",
            fix="train it in float",
        )
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", training.weight())
        if layer.bias is not None:
            parametrize.register_parametrization(layer, "bias", Int16Bias())
        if training.activations:
            layer.register_forward_pre_hook(_round_activation)
    return copied


def settled(model: M) -> M:
    """A copy with ordinary layers again, whose weights and biases are the rounded ones."""
    copied = copy.deepcopy(model)
    for layer in copied.modules():
        if parametrize.is_parametrized(layer, "weight"):
            _settle(layer)
    return copied


def _settle(layer: nn.Module) -> None:
    """What torch's own removal does, but that it would take what the layer's copies hold as well: their
    class, which torch made for the first of them, is one."""
    names = list(cast(nn.ModuleDict, layer.parametrizations))
    rounded = {name: getattr(layer, name).detach().clone() for name in names}
    layer.__class__ = type(layer).__bases__[0]
    del layer.parametrizations
    for name, value in rounded.items():
        layer.register_parameter(name, nn.Parameter(value))
    for key, hook in list(layer._forward_pre_hooks.items()):
        if hook is _round_activation:
            del layer._forward_pre_hooks[key]


def _worth_it(weight: Tensor) -> bool:
    outputs, inputs = weight.shape[0], weight[0].numel()
    return min(outputs, inputs) >= SHORTEST and weight.numel() >= FEWEST_WEIGHTS


def _round_activation(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The first input on the steps of int8 that `dynamic` gives each row."""
    x, *others = inputs
    axes = (-1,) if isinstance(layer, nn.Linear) else tuple(range(1, x.ndim))
    largest = x.detach().abs().amax(axes, keepdim=True).clamp_min(TINY)
    return _passed(x, (x * (LARGEST / largest)).round() * (largest / LARGEST)), *others


def _power_of_two(largest: Tensor, most: int) -> Tensor:
    """The finest power of two of which no more than `most` are the largest magnitude."""
    return torch.exp2(torch.ceil(torch.log2(largest.clamp_min(torch.finfo(largest.dtype).tiny) / most)))


def _shortened(step: Tensor) -> Tensor:
    """The next number above with so many empty bits."""
    mantissa, exponent = torch.frexp(step)
    bits = 2.0 ** (24 - _EMPTY_BITS)
    return torch.ldexp((mantissa * bits).ceil() / bits, exponent)


class _Rounded(torch.autograd.Function):
    """Gives `rounded` to the last bit, and its gradient to `value`."""

    @staticmethod
    def forward(ctx: object, value: Tensor, rounded: Tensor) -> Tensor:
        return rounded.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def _passed(value: Tensor, rounded: Tensor) -> Tensor:
    """The rounded value, with the gradient of the value."""
    return cast(Tensor, _Rounded.apply(value, rounded.detach()))
