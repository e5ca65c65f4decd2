"""Constants beside the weights of products - biases, decays, taps of short convolutions, skips - in int16.

    c = DequantizeLinear(integers, step)

A constant has one step, a power of two, so that what it stands for is exact in float, and rounded once more
stays as it is. In float such constants weigh as much as eight times as many weights in int4. A decay near 1
must be exact to far more digits than its state, so what this does is measured, as with products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.graph import StepGraph, build, initializers, origin, set_origin
from millstream.quantize.calibration import Calibration
from millstream.quantize.error import relative_errors
from millstream.quantize.product import Weight
from millstream.quantize.recurrence import LONG, without_reset
from millstream.quantize.rounding import LARGEST_INT16

#: Values below which the node that scales them takes more bytes than they save.
FEWEST_VALUES = 128
#: Relative RMS error of an output or state above which a constant stays in float: a tenth of what the
#: products of a recurrence may do, and far more than int16 does to what forgets.
MOST_MOVED = 0.002
#: A largest magnitude whose step is still a normal float32.
_SMALLEST = 2.0**-110
_ELEMENTWISE = ("Add", "Mul", "Sub")
#: The place of a Gemm's bias among its inputs.
_BIAS = 2


@dataclass(frozen=True)
class Operand:
    """A float constant that is but added to or multiplied with one value each: its name, the first operator
    that reads it, and the module that is of."""

    name: str
    operator: str
    origin: str


def operands(graph: StepGraph) -> list[Operand]:
    """Those of the constants of a flat, folded graph that are worth it."""
    constants = initializers(graph.model)
    found: dict[str, list[onnx.NodeProto]] = {}
    others: set[str] = set()
    for node in graph.model.graph.node:
        for place, name in enumerate(node.input):
            if node.op_type in _ELEMENTWISE or (node.op_type, place) == ("Gemm", _BIAS):
                found.setdefault(name, []).append(node)
            else:
                others.add(name)
    return [
        Operand(name, nodes[0].op_type, next(filter(None, map(origin, nodes)), ""))
        for name, nodes in found.items()
        if name in constants and name not in others and _fits(constants[name])
    ]


def in_int16(graph: StepGraph, found: Sequence[Operand]) -> StepGraph:
    """The graph with these constants in int16."""
    constants = initializers(graph.model)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    nodes, held = [], [x for x in model.graph.initializer if x.name not in {each.name for each in found}]
    for each in found:
        integers, step = f"{each.name}.int16", f"{each.name}.step"
        values, scale = _rounded(constants[each.name])
        node = onnx.helper.make_node("DequantizeLinear", [integers, step], [each.name], f"{each.name} node")
        set_origin(node, each.origin)
        nodes.append(node)
        held += [onnx.numpy_helper.from_array(values, integers), onnx.numpy_helper.from_array(scale, step)]
    nodes += model.graph.node
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(held)
    return build(model, graph.states)


def bearing(
    graph: StepGraph, found: Sequence[Operand], calibration: Calibration
) -> tuple[list[Operand], list[Weight]]:
    """Those that may be in int16, and why the others stay in float: what each moves in a long stream without
    reset. They are tried alone only where all together move too much."""
    constants, steady = initializers(graph.model), without_reset(calibration)
    names = [tensor.name for tensor in graph.outputs] + [pair.next_name for pair in graph.states]

    def moved(some: Sequence[Operand]) -> float:
        errors = relative_errors(graph, in_int16(graph, some), names, steady, LONG)
        return max(errors.values(), default=0.0)

    if not found or moved(found) <= MOST_MOVED:
        return list(found), []
    errors = {each.name: moved([each]) for each in found}
    return (
        [each for each in found if errors[each.name] <= MOST_MOVED],
        [
            Weight(each.operator, each.origin, constants[each.name].shape, _why(errors[each.name]))
            for each in found
            if errors[each.name] > MOST_MOVED
        ],
    )


def _why(error: float) -> str:
    return f"in int16 it moves an output or a state by {error:.1%} in {LONG} ticks"


def _fits(array: np.ndarray) -> bool:
    large = array.dtype == np.float32 and array.size >= FEWEST_VALUES
    return large and bool(np.isfinite(array).all()) and np.abs(array).max() >= _SMALLEST


def _rounded(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest integers, and the finest step (float32) with which they hold the largest magnitude."""
    step = np.exp2(np.ceil(np.log2(np.abs(array).max() / np.float64(LARGEST_INT16))))
    return np.rint(array / step).astype(np.int16), np.array(step, np.float32)
