"""Convolutions and pooling over time, and transposed convolutions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from millstream.streamify.operators.local import local
from millstream.streamify.operators.windows import Window, own_axis, pad, windowed
from millstream.streamify.planner import Call, Planner, shapes
from millstream.streamify.refusal import Stuck, Uneven, operator
from millstream.streamify.tick import Tick, window
from millstream.streamify.timing import Kind, Series

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def convolution(planner: Planner, call: Call) -> Kind:
    """conv1d, conv2d, conv3d with time among their spatial axes."""
    placed = _over_time(planner, call, planner.results[call["weight"].name].dim() - 2)
    if placed is None:
        return local(planner, call)
    series, place, rank = placed
    weight, bias = planner.constant(call["weight"]), call["bias"] and planner.constant(call["bias"])
    strides, dilations = _each(call["stride"], rank), _each(call["dilation"], rank)
    kernel = planner.results[call["weight"].name].shape[2:]
    spans = [dilations[i] * (kernel[i] - 1) for i in range(rank)]
    pads = _paddings(call["padding"], spans)
    left, right = pads[place]
    others = [(0, 0) if i == place else pair for i, pair in enumerate(pads)]
    groups = call["groups"]

    def compute(tick: Tick, x: Tensor) -> Tensor:
        x = _padded(x, others)
        own_bias = tick.values[bias] if bias else None
        return _CONVOLUTIONS[rank](x, tick.values[weight], own_bias, strides, 0, dilations, groups)

    reach = Window(spans[place], strides[place], left, right)
    return windowed(planner, call, (call["input"].name, series), reach, compute)


def pooling(planner: Planner, call: Call) -> Kind:
    """avg_pool and max_pool with time among their spatial axes."""
    name = operator(call.node)
    largest = name.startswith("max")
    rank = int(name.removesuffix("_with_indices")[-2])
    placed = _over_time(planner, call, rank, "input" if "input" in call.named else "self")
    if placed is None:
        return local(planner, call)
    series, place, _ = placed
    source = call.named.get("input") or call["self"]
    kernel = _each(call["kernel_size"], rank)
    strides = _each(call["stride"] or kernel, rank)
    dilations = _each(call.named.get("dilation", 1), rank)
    padding = _each(call["padding"], rank)
    if call["ceil_mode"]:
        raise Stuck("ceil_mode gives a last window that is not full", "use ceil_mode=False")
    if not largest and padding[place] and not call["count_include_pad"]:
        raise Stuck("the first windows divide by fewer frames", "use count_include_pad=True")
    own = [0 if i == place else p for i, p in enumerate(padding)]
    spans = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]

    def compute(tick: Tick, x: Tensor) -> Tensor:
        if largest:
            return getattr(functional, f"max_pool{rank}d")(x, kernel, strides, own, dilations)
        return getattr(functional, f"avg_pool{rank}d")(x, kernel, strides, own)

    fill = -math.inf if largest else 0.0
    reach = Window(spans[place], strides[place], padding[place], padding[place], fill)
    return windowed(planner, call, (source.name, series), reach, compute)


def transposed(planner: Planner, call: Call) -> Kind:
    """conv_transpose: each frame adds to the results of the next few; they are ready when it has."""
    weight_shape = planner.results[call["weight"].name].shape
    placed = _over_time(planner, call, len(weight_shape) - 2)
    if placed is None:
        return local(planner, call)
    series, place, rank = placed
    own_axis(series)
    source = call["input"].name
    weight, bias = planner.constant(call["weight"]), call["bias"] and planner.constant(call["bias"])
    strides, dilations = _each(call["stride"], rank), _each(call["dilation"], rank)
    padding, extra = _each(call["padding"], rank), _each(call["output_padding"], rank)
    span, stride = dilations[place] * (weight_shape[2 + place] - 1), strides[place]
    if span + 1 < stride:
        raise Stuck(
            "a kernel shorter than its stride leaves gaps", "use a kernel at least as long as its stride"
        )
    crop = padding[place]
    own = [0 if i == place else p for i, p in enumerate(padding)]
    own_extra = [0 if i == place else p for i, p in enumerate(extra)]
    past = -(-span // stride)
    state = planner.ring(f"{call.name}.past", source, series, past)
    groups, time = call["groups"], series.axis

    def run(tick: Tick) -> Tensor:
        x = pad(tick, tick.values[source], series, Window(span, left=1, right=1))
        x = window(tick, state, x, series, past)
        y = _TRANSPOSED[rank](
            *(x, tick.values[weight], tick.values[bias] if bias else None),
            *(strides, own, own_extra, groups, dilations),
        )
        return y.narrow(time, past * stride, series.count * stride)

    planner.emit(call.name, run)
    found = planner.series(shapes(call.twins), series.fold)
    if found.count != series.count * stride:
        raise Uneven
    return replace(found, delay=series.delay * stride + crop)


def _over_time(
    planner: Planner, call: Call, rank: int, name: str = "input"
) -> tuple[Series, int, int] | None:
    """The series, which spatial axis is its time, and how many there are; None when time is none of them."""
    kind = planner.kinds[call[name].name]
    if not isinstance(kind, Series) or kind.clock or kind.steady:
        return None
    first = planner.results[call[name].name].dim() - rank
    return (own_axis(kind), kind.axis - first, rank) if kind.axis >= first else None


def _each(value: Any, rank: int) -> list[int]:
    """One number per spatial axis."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    return items * rank if len(items) == 1 else items


def _paddings(padding: Any, spans: list[int]) -> list[tuple[int, int]]:
    if padding == "same":
        return [(span // 2, span - span // 2) for span in spans]
    if padding == "valid":
        return [(0, 0)] * len(spans)
    return [(p, p) for p in _each(padding, len(spans))]


def _padded(x: Tensor, pads: list[tuple[int, int]]) -> Tensor:
    """Zeros on the spatial axes that are not time."""
    flat = [size for pair in reversed(pads) for size in pair]
    return functional.pad(x, flat) if any(flat) else x


def unfold(planner: Planner, call: Call) -> Kind:
    """Tensor.unfold over time: overlapping windows, each a new last axis."""
    kind = planner.kinds[call["self"].name]
    size, step = call["size"], call["step"]
    axes = planner.results[call["self"].name].dim()
    if not isinstance(kind, Series) or kind.clock or call["dimension"] % axes != kind.axis:
        return local(planner, call)

    def compute(tick: Tick, x: Tensor) -> Tensor:
        length = size + (kind.count // step - 1) * step
        return torch.narrow(x, kind.axis, 0, length).unfold(kind.axis, size, step)

    return windowed(planner, call, (call["self"].name, own_axis(kind)), Window(size - 1, step), compute)
