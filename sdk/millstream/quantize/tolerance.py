"""How far two right answers of a quantized graph may lie apart, measured on the graph itself.

Float backends differ from the reference by their float bound. Where such a difference meets a rounding, a
value near a tie goes to the other neighbour: a whole step of the quantization for a difference of 1e-7. No
bound relative to the largest value foresees that, so it is measured: the reference is run again with every
value that enters a rounding nudged by the float bound, up or down by chance, and the largest effect that is
seen says what the graph makes of such differences. The nudges are as large as a backend's difference may ever
be, so they cross far more ties than a backend does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration, stream
from millstream.reference.operators import OPERATORS
from millstream.reference.precision import Operator
from millstream_runtime.spec import ModelSpec, Tolerance

#: What a backend's floats alone may do before a rounding; no target allows itself more.
NUDGE = 1e-5
SEEDS = 4
TICKS = 256
#: The largest effect of a few hundred ticks times this covers streams that are longer.
MARGIN = 2.0
_ROUNDINGS = ("Round", "QuantizeLinear")


def rounds(graph: StepGraph, spec: ModelSpec) -> bool:
    """Whether the flat graph rounds any activation, or a state that it keeps."""
    quantizes = any(node.op_type in _ROUNDINGS for node in graph.model.graph.node)
    return quantizes or any(state.rounded for state in spec.states)


def widened(bound: Tolerance, effect: float) -> Tolerance:
    """The bound of a backend on a graph that rounds, when `bound` is what its floats alone need and
    `effect` what `largest_effect` found."""
    reason = (
        f"{bound.reason}; with all that is rounded nudged by {NUDGE:g} of its largest value the reference "
        f"itself moved by {effect:.1e} of the largest value, and {MARGIN:g} times that is allowed"
    )
    return replace(bound, relative=bound.relative + MARGIN * effect, reason=reason)


def largest_effect(graph: StepGraph, calibration: Calibration, pause: int) -> float:
    """The largest difference that nudges make to any output or state, relative to its largest value.

    States are carried over `TICKS` frames, so an effect that grows shows. States are looked at once more
    alone after `pause` ticks, where the golden sequence ends and compares them.
    """
    names = [value.name for value in graph.model.graph.output if value.name]
    streams = [stream(graph, calibration, TICKS)]
    for seed in range(SEEDS):
        operators = _nudged(np.random.default_rng(seed))
        streams.append(stream(graph, calibration, TICKS, operators))
    sizes, gaps, paused = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0), 0.0
    for tick, (exact, *moved) in enumerate(zip(*streams, strict=True), 1):
        for name in names:
            size = _largest(exact[name])
            gap = max(_largest(other[name] - exact[name].astype(np.float64)) for other in moved)
            sizes[name], gaps[name] = max(sizes[name], size), max(gaps[name], gap)
            if tick == pause:
                paused = max(paused, _ratio(gap, size))
    return max(paused, *(_ratio(gaps[name], sizes[name]) for name in names))


def _nudged(rng: np.random.Generator) -> Mapping[str, Operator]:
    """The reference's operators, those that round with their first operand moved."""

    def nudged(x: np.ndarray) -> np.ndarray:
        signs = rng.choice(x.dtype.type([-1, 1]), x.shape)
        return x + signs * x.dtype.type(NUDGE * _largest(x))

    def moved(function: Operator) -> Operator:
        return lambda x, *others, **attributes: function(nudged(x), *others, **attributes)

    def cast(x: np.ndarray, to: int, **attributes: Any) -> Any:
        rounds = to == onnx.TensorProto.FLOAT16 and x.dtype == np.float32
        return OPERATORS["Cast"](nudged(x) if rounds else x, to=to, **attributes)

    return {**OPERATORS, **{name: moved(OPERATORS[name]) for name in _ROUNDINGS}, "Cast": cast}


def _largest(x: np.ndarray) -> float:
    return float(np.abs(x).max(initial=0))


def _ratio(gap: float, size: float) -> float:
    return gap / size if size else 0.0
