"""What quantization costs layer by layer: the products of a quantized step against those of a float step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from millstream.errors import DataInvalid
from millstream.graph import StepGraph, origin
from millstream.quantize import flattened
from millstream.quantize.calibration import Calibration, observed
from millstream.quantize.error import relative_errors
from millstream.quantize.product import find
from millstream.report.rooms import module_of
from millstream_runtime.bundle import Bundle
from millstream_runtime.golden import Golden
from millstream_runtime.spec import STEP


@dataclass(frozen=True)
class Layer:
    """One product: the module, its operator, the name of its result, and the RMS of the difference over the
    RMS of the float value while the golden frames stream through both graphs, each with its own states."""

    path: str
    operator: str
    tensor: str
    error: float


def layer_errors(quantized: Bundle, exact: Bundle, golden: Golden) -> tuple[Layer, ...]:
    """Compare a quantized bundle with the float bundle of the same model.

    Raises DataInvalid when they are bundles of different models.
    """
    ours, theirs = _flat(quantized), _flat(exact)
    computed = {name for node in ours.model.graph.node for name in node.output}
    products = [product for product in find(theirs)[0] if product.output in computed]
    if not _alike(quantized, exact) or not products:
        raise DataInvalid(
            "the float bundle is of another model",
            where=exact.path,
            fix="export the same model without --quantize, and name that bundle",
        )
    names = [product.output for product in products]
    frames = golden.inputs[0][: golden.ticks - quantized.manifest.model.look_ahead]
    calibration = Calibration([np.array(frames)], quantized.initial())
    errors = relative_errors(observed(theirs, names), observed(ours, names), names, calibration)
    return tuple(
        Layer(origin(p.node) or module_of(p.weight), p.node.op_type, p.output, errors[p.output])
        for p in products
    )


def _flat(bundle: Bundle) -> StepGraph:
    return flattened(StepGraph(onnx.load_from_string(bundle.members[STEP])))


def _alike(one: Bundle, other: Bundle) -> bool:
    """Whether the two take and give tensors of the same names and shapes."""
    here, there = one.manifest.model, other.manifest.model
    return (here.inputs, here.outputs, here.states) == (there.inputs, there.outputs, there.states)
