"""What our formats are held against: onnxruntime's static quantizer, and plain rounding to the range seen.

A quantizer takes a float step graph and its calibration, and gives an ONNX model with the same inputs and
outputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static

from millstream.graph import StepGraph
from millstream.quantize import FORMATS, Format, flattened
from millstream.quantize import quantize as quantized
from millstream.quantize.calibration import MOST_TICKS, Calibration, stream
from millstream.quantize.product import Product, find
from millstream.quantize.ranges.min_max import min_max
from millstream.quantize.rounding import LARGEST, LARGEST_INT4, Rounded, nearest
from millstream.quantize.static import quantize_statically
from millstream.quantize.weight_only import quantize_weights

Quantizer = Callable[[StepGraph, Calibration], onnx.ModelProto]

_PRODUCTS = ["Conv", "Gemm", "MatMul"]


@dataclass(frozen=True)
class Way:
    """A way to quantize: its name, the bits of weights and activations, and what does it."""

    name: str
    bits: str
    quantizer: Quantizer


def ways() -> tuple[Way, ...]:
    """Ours and the others, those with the same bits together."""
    names = ("w8a8", "w8a8-static", "w8", "w4a8", "w4", "w4-groups")
    ours = {name: _ours(FORMATS[name]) for name in names}
    entropy = partial(_onnxruntime, per_channel=True, calibrate_method=CalibrationMethod.Entropy)
    return (
        Way("Millstream w8a8", "W8A8", ours["w8a8"]),
        Way("Millstream w8a8-static", "W8A8", ours["w8a8-static"]),
        Way("onnxruntime static, its defaults", "W8A8", _onnxruntime),
        Way(
            "onnxruntime static, products only", "W8A8", partial(_onnxruntime, op_types_to_quantize=_PRODUCTS)
        ),
        Way(
            "onnxruntime static, products only, per channel, entropy",
            "W8A8",
            partial(entropy, op_types_to_quantize=_PRODUCTS),
        ),
        Way("plain min-max", "W8A8", _plain(LARGEST, partial(quantize_statically, fit=_seen))),
        Way("Millstream w8", "W8A16", ours["w8"]),
        Way("Millstream w4a8", "W4A8", ours["w4a8"]),
        Way("Millstream w4", "W4A16", ours["w4"]),
        Way("Millstream w4-groups", "W4A16", ours["w4-groups"]),
        Way("plain min-max", "W4A16", _plain(LARGEST_INT4, quantize_weights)),
    )


def _ours(format: Format) -> Quantizer:
    return lambda graph, calibration: quantized(graph, format, calibration).graph.model


def _plain(largest: int, write: Callable[..., StepGraph]) -> Quantizer:
    """Every product, with one scale per weight, which holds its largest value."""

    def rounding(product: Product, weight: np.ndarray) -> Rounded:
        step = np.full([1] * weight.ndim, np.abs(weight).max() / largest, np.float32)
        found = nearest(weight, step, largest)
        return Rounded(found.values, np.full(weight.shape[product.channel], step.item(), np.float32))

    def quantizer(graph: StepGraph, calibration: Calibration) -> onnx.ModelProto:
        flat = flattened(graph)
        return write(flat, find(flat)[0], calibration, rounding).model

    return quantizer


def _seen(
    x: np.ndarray, products: Sequence[Product], constants: Mapping[str, np.ndarray]
) -> tuple[float, None]:
    return min_max(np.abs(x)) or 1.0, None


def _onnxruntime(graph: StepGraph, calibration: Calibration, **options: Any) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(flattened(graph).model)
    del model.graph.value_info[:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        quantize_static(model, path, _Frames(graph, calibration), **options)
        return onnx.load(path)


class _Frames(CalibrationDataReader):
    """Frames with the states that the float step has when they come."""

    def __init__(self, graph: StepGraph, calibration: Calibration) -> None:
        self._inputs = _inputs(graph, calibration)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


def _inputs(graph: StepGraph, calibration: Calibration) -> Iterator[dict[str, np.ndarray]]:
    """What the step is given at each tick of the calibration."""
    ticks = stream(graph, calibration)
    frame = graph.inputs[0].name
    left = MOST_TICKS
    for sequence in calibration.sequences:
        states = {
            pair.name: value[None] for pair, value in zip(graph.states, calibration.initial, strict=True)
        }
        for x in sequence[:left]:
            yield {frame: x[None], **states}
            values = next(ticks)
            states = {pair.name: values[pair.next_name] for pair in graph.states}
        left -= len(sequence)
        if left <= 0:
            return
