"""Which nodes of a step become fixed point, and which stay around them.

What is counted in int64 or summed in float64 (a running mean, a position) is exact already and stays as it
is: it reads fixed-point results and runs beside the circuit. Nothing of it may flow back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.helper

from millstream.gap import Gap
from millstream.graph import StepGraph, initializers, origin, tensor

#: Comparisons with a constant: a neuron that fires, written as a cast of one.
COMPARISONS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")


@dataclass(frozen=True)
class Region:
    """The nodes of the fixed-point core in order, and those that stay in the dtypes that they have."""

    core: tuple[onnx.NodeProto, ...]
    around: tuple[onnx.NodeProto, ...]
    states: tuple[str, ...]


def split(graph: StepGraph) -> tuple[Region, list[Gap]]:
    """The region of a flat graph, and a gap for each state that both sides would have to hold."""
    model = graph.model
    constants = set(initializers(model))
    dtypes = _dtypes(model)
    outside = {value.name for value in model.graph.input if dtypes[value.name] != np.float32}
    fired = spikes(model)
    core: list[onnx.NodeProto] = []
    around: list[onnx.NodeProto] = []
    for node in model.graph.node:
        read = [name for name in node.input if name and name not in constants]
        stays = any(name in outside for name in read) or any(
            dtypes.get(name, np.dtype(np.float32)) != np.float32 and name not in fired for name in node.output
        )
        (around if stays else core).append(node)
        if stays:
            outside.update(node.output)
    gaps = [
        Gap("state", pair.name, "", "its next value comes from what stays outside of fixed point")
        for pair in graph.states
        if pair.name not in outside and pair.next_name in outside
    ]
    states = tuple(pair.name for pair in graph.states if pair.name not in outside)
    return Region(tuple(core), tuple(around), states), gaps


def spikes(model: onnx.ModelProto) -> set[str]:
    """Results of comparisons that are read as floats of 0 and 1, and in no other way."""
    compared = {node.output[0] for node in model.graph.node if node.op_type in COMPARISONS}
    for node in model.graph.node:
        casts = node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT
        compared -= set() if casts else set(node.input)
    return compared - {value.name for value in model.graph.output}


def _dtypes(model: onnx.ModelProto) -> dict[str, np.dtype]:
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    return {value.name: np.dtype(tensor(value).dtype) for value in values}


def gap(node: onnx.NodeProto, why: str, help: str = "") -> Gap:
    """Why a node cannot be fixed point."""
    return Gap(node.op_type, node.name or node.output[0], origin(node), why, help)


def read_by(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Every name that the nodes read."""
    return {name for node in nodes for name in node.input if name}
