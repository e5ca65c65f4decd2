"""How often values of a fixed-point step meet the limits of their width: what the headroom failed to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from millstream.coarse import DOMAIN
from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration, observed, stream
from millstream.quantize.fixed_point.writer import HIGHEST, LOWEST


@dataclass(frozen=True)
class Saturation:
    """Of `values` that one tensor took, `limited` stood at the end of its range."""

    values: int
    limited: int


def saturation(graph: StepGraph, calibration: Calibration, ticks: int = 512) -> Mapping[str, Saturation]:
    """The tensors of a fixed-point step that met a limit while the sequences streamed through it.

    The lower limit of a ReLU is none: only the ends of the 16 bits count.
    """
    names = [
        node.output[0]
        for node in graph.model.graph.node
        if node.domain == DOMAIN or node.op_type == "QuantizeLinear"
    ]
    counts: dict[str, tuple[int, int]] = dict.fromkeys(names, (0, 0))
    for values in stream(observed(graph, names), calibration, ticks):
        for name, (total, limited) in counts.items():
            array = values[name]
            met = int(np.count_nonzero((array == LOWEST) | (array == HIGHEST)))
            counts[name] = (total + array.size, limited + met)
    return {name: Saturation(*count) for name, count in counts.items() if count[1]}
