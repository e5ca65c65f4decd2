"""Float16 in a step graph, and what may be asked of its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx

from millstream.graph import StepGraph
from millstream_runtime.spec import ModelSpec, Tolerance

#: Eight times the distance of neighbouring float16 in [1, 2): a value passes a handful of roundings that
#: another backend makes elsewhere, and each moves it by at most half of that distance.
RELATIVE = 2.0**-7
_REASON = "float16 holds 11 bits, and what is fused or summed wider is rounded elsewhere"


def in_float16(graph: StepGraph, spec: ModelSpec) -> bool:
    """Whether any tensor of the graph is float16, but for states that are rounded to it: they are computed in
    float32, and have a bound of their own."""
    rounded = {name for state in spec.states if state.rounded for name in (state.name, state.next_name)}
    dtypes = _dtypes(graph.model.graph)
    return any(dtype == onnx.TensorProto.FLOAT16 for name, dtype in dtypes if name not in rounded)


def loosened(bound: Tolerance, graph: StepGraph, spec: ModelSpec) -> Tolerance:
    """The bound of a backend, given for float32, as it is for this graph."""
    if not in_float16(graph, spec):
        return bound
    return replace(bound, relative=RELATIVE, reason=f"{_REASON}; {bound.reason}")


def _dtypes(graph: onnx.GraphProto) -> Iterator[tuple[str, int]]:
    """Every tensor's name and type."""
    for value in (*graph.input, *graph.value_info, *graph.output):
        yield value.name, value.type.tensor_type.elem_type
    for item in graph.initializer:
        yield item.name, item.data_type
