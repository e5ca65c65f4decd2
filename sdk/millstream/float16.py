"""Float16 in a step graph, and what may be asked of its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx

from millstream.graph import StepGraph
from millstream_runtime.spec import Tolerance

#: Eight times the distance of neighbouring float16 in [1, 2): a value passes a handful of roundings that
#: another backend makes elsewhere, and each moves it by at most half of that distance.
RELATIVE = 2.0**-7
_REASON = "float16 holds 11 bits, and what is fused or summed wider is rounded elsewhere"


def in_float16(graph: StepGraph) -> bool:
    """Whether any tensor of the graph is float16."""
    return onnx.TensorProto.FLOAT16 in set(_dtypes(graph.model.graph))


def loosened(bound: Tolerance, graph: StepGraph) -> Tolerance:
    """The bound of a backend, given for float32, as it is for this graph."""
    if not in_float16(graph):
        return bound
    return replace(bound, relative=RELATIVE, reason=f"{_REASON}; {bound.reason}")


def _dtypes(graph: onnx.GraphProto) -> Iterator[int]:
    for value in (*graph.input, *graph.value_info, *graph.output):
        yield value.type.tensor_type.elem_type
    for item in graph.initializer:
        yield item.data_type
