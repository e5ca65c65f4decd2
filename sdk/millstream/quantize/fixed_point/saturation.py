"""How often values of a fixed-point step meet the limits of their width: what the headroom failed to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from millstream.coarse import DOMAIN
from millstream.graph import StepGraph, initializers
from millstream.quantize.calibration import Calibration, observed, stream
from millstream.quantize.fixed_point.functions import INVERSE, INVERSE_NORM, TABLE
from millstream.quantize.fixed_point.widths import WORD, highest, lowest


@dataclass(frozen=True)
class Saturation:
    """Of `values` that one tensor took, `limited` stood at the end of its range."""

    values: int
    limited: int


def saturation(graph: StepGraph, calibration: Calibration, ticks: int = 512) -> Mapping[str, Saturation]:
    """The tensors of a fixed-point step that met a limit while the sequences streamed through it.

    The lower limit of a ReLU is none: only the ends of a value's bits count.
    """
    constants = initializers(graph.model)
    limits = {
        node.output[0]: _limits(node, constants)
        for node in graph.model.graph.node
        if node.domain == DOMAIN or node.op_type == "QuantizeLinear"
    }
    counts: dict[str, tuple[int, int]] = dict.fromkeys(limits, (0, 0))
    for values in stream(observed(graph, tuple(limits)), calibration, ticks):
        for name, (total, limited) in counts.items():
            array, (low, high) = values[name], limits[name]
            met = int(np.count_nonzero((array == low) | (array == high)))
            counts[name] = (total + array.size, limited + met)
    return {name: Saturation(*count) for name, count in counts.items() if count[1]}


def _limits(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """The ends of the width of what a node computes; those of a word where it does not round or is a spike,
    which is at its end whenever it is not at 0."""
    if node.domain != DOMAIN or node.op_type in (TABLE, INVERSE, INVERSE_NORM):
        return lowest(WORD), highest(WORD)
    low, high = (int(constants[name]) for name in node.input[-2:])
    return (lowest(WORD), highest(WORD)) if (low, high) == (0, 1) else (-high - 1, high)
