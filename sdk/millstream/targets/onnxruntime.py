"""Compile half of onnxruntime: nothing to compile, its run half opens `step.onnx` as it is."""

from __future__ import annotations

import math

from millstream.gap import Gap
from millstream.graph import StepGraph, initializers
from millstream.targets import Compiled, Contract, Target
from millstream_runtime.backends import onnxruntime as run_half
from millstream_runtime.errors import BackendRefused
from millstream_runtime.spec import Memory, Tolerance

_TOLERANCE = Tolerance(
    relative=1e-5, absolute=1e-7, reason="float32 sums in another order and approximated functions"
)


def missing(target: Target) -> tuple[str, ...]:
    """The line that installs onnxruntime, when it is not here to say what it refuses."""
    lacking = run_half.missing()
    return (lacking,) if lacking else ()


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """What onnxruntime says when it refuses the graph; it names one node at a time."""
    try:
        run_half.session(graph.to_bytes())
    except BackendRefused as refusal:
        return [Gap("graph", "step.onnx", "", refusal.why)]
    return []


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """No files. Scratch is onnxruntime's own and unknown to us: it counts as 0."""
    weights = sum(array.nbytes for array in initializers(graph.model).values())
    state = sum(math.prod(d or 1 for d in t.shape[1:]) * t.dtype.itemsize for t in graph.state_tensors)
    return Compiled({}, Memory(weights=weights, state=state, scratch=0), _TOLERANCE)
