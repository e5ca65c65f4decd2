"""One tick of a step graph on each backend."""

from __future__ import annotations

import numpy as np
from backend_programs import OPENERS, Case, run

from millstream import lower
from millstream.graph import StepGraph
from millstream_runtime.backends.onnxruntime import session

EVERY_BACKEND = (*OPENERS, "onnxruntime")


def first_output(graph: StepGraph, backend: str, x: np.ndarray, *states: np.ndarray) -> np.ndarray:
    """The first output (B, ...) for a frame x (B, ...) and states in the order of the graph."""
    if backend == "onnxruntime":
        pairs = zip(graph.states, states, strict=True)
        given = {graph.inputs[0].name: x, **{pair.name: state for pair, state in pairs}}
        return np.asarray(session(graph.model.SerializeToString()).run([graph.outputs[0].name], given)[0])
    lowered = lower.lower(graph)
    (output, *_), _ = run(OPENERS[backend], Case(lowered.program, lowered.weights, (x,), states))
    return output
