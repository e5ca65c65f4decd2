"""What a step gives under the reference, frame after frame."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from millstream.graph import StepGraph
from millstream.protocol import VALID
from millstream.reference import prepare


def outputs(
    graph: StepGraph, initial: Mapping[str, np.ndarray], x: np.ndarray, valid: np.ndarray | None = None
) -> np.ndarray:
    """The output `output` of every frame of x (T, ...). `initial` has no batch dimension; a model that asks
    for it is told of each frame whether it is `valid` (T,), without that all are."""
    run, found = prepare(graph.model), []
    state = {name: value[None] for name, value in initial.items()}
    asks = any(each.name == VALID for each in graph.inputs)
    for frame, real in zip(x, np.ones(len(x), bool) if valid is None else valid, strict=True):
        results = run({"input": frame[None], **({VALID: np.array([real])} if asks else {}), **state})
        found.append(results["output"][0])
        state = {pair.name: results[pair.next_name] for pair in graph.states}
    return np.stack(found)
