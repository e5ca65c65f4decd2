"""Keys of a delta rule made short enough once they are rounded, so that no state grows.

S' = S (I - beta k k^T) + ... changes the part of the state along k by 1 - beta |k|^2. With beta up to 2 no
key may be longer than 1: a length of 1.0007, which roundings may well give, grows a state by a factor of 16
within a thousand ticks. So the key is normalised once more, from what the rounding left
of it, by one step of Newton's method for 1 / sqrt at 1:

    k' = k (3 - |k|^2) / 2

Whatever the length r of k up to 2, r (3 - r^2) / 2 is at most 1, and an error e of it becomes 3/2 e^2. The
3 / 2 is made smaller by what the roundings of the step itself may add.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import onnx.helper

from millstream.graph import StepGraph, origin, set_origin
from millstream.quantize.fixed_point.ranges import MOVES
from millstream.quantize.fixed_point.widths import WORD
from millstream.reparameterize.graph.editing import View, edited, renamed

#: Half a step of a value that is 1 at most, with the room above that every range has.
_HALF_STEP = 2.0 ** (1 - WORD)


def short_keys(graph: StepGraph) -> StepGraph:
    """The flat graph with every key of a delta rule normalised twice; the graph itself where none is."""
    view = View(graph)
    keys = {name for name in _units(view) if _corrects(view, name)}
    if not keys:
        return graph
    nodes, added = list[onnx.NodeProto](), dict[str, np.ndarray]()
    for node in view.nodes:
        name = node.output[0]
        if name not in keys:
            nodes.append(node)
            continue
        first = renamed(node, {})
        first.output[0] = f"{name}.once"
        second = list(_again(first.output[0], name, view.shapes[name][-1] or 1, added))
        for new in second:
            set_origin(new, origin(node))
        nodes += [first, *second]
    return edited(graph, nodes, added)


def _again(rough: str, name: str, width: int, added: dict[str, np.ndarray]) -> Iterator[onnx.NodeProto]:
    """name = rough ((3/2 - margin) - |rough|^2 / 2); the sum of squares is one product of two activations,
    rounded once."""
    margin = (math.sqrt(width) + 2) * _HALF_STEP
    most = f"keys.most.{width}"
    added |= {"keys.row": np.array([-2]), "keys.column": np.array([-1])}
    added |= {"keys.half": np.array(0.5, np.float32), most: np.array(1.5 - margin, np.float32)}
    row, column, square, length, half, factor = (
        f"{name}.{part}" for part in ("row", "column", "square", "length", "half", "factor")
    )
    for operator, read, output in (
        ("Unsqueeze", [rough, "keys.row"], row),
        ("Unsqueeze", [rough, "keys.column"], column),
        ("MatMul", [row, column], square),
        ("Squeeze", [square, "keys.column"], length),
        ("Mul", [length, "keys.half"], half),
        ("Sub", [most, half], factor),
        ("Mul", [rough, factor], name),
    ):
        yield onnx.helper.make_node(operator, read, [output], name=f"{output} node")


def _units(view: View) -> Iterator[str]:
    """Every value that is another one divided by its length over the last axis."""
    for node in view.nodes:
        if node.op_type not in ("Mul", "Div") or len(node.input) != 2:
            continue
        for x, other in (tuple(node.input), tuple(reversed(node.input))):
            inverse = node.op_type == "Mul"
            if (inverse or x == node.input[0]) and _is_length(view, other, x, inverse):
                yield node.output[0]
                break


def _is_length(view: View, name: str, x: str, inverse: bool) -> bool:
    """Whether a value is the length of x, or its inverse: sqrt(sum of squares + a constant)."""
    node = view.writers.get(name)
    if inverse:
        if node is None or node.op_type != "Reciprocal":
            return False
        node = view.writers.get(node.input[0])
    if node is None or node.op_type != "Sqrt":
        return False
    total = view.writers.get(node.input[0])
    if total is not None and total.op_type == "Add":
        left = [each for each in total.input if each not in view.constants]
        total = view.writers.get(left[0]) if len(left) == 1 else None
    if total is None or total.op_type != "ReduceSum":
        return False
    squares = view.writers.get(total.input[0])
    return squares is not None and squares.op_type == "Mul" and set(squares.input) == {x}


def _corrects(view: View, key: str) -> bool:
    """Whether what a state holds under the key is found by a product and written back under the same key."""
    moved = _reached(view, [key], MOVES)
    held = _reached(view, [pair.name for pair in view.graph.states])
    found = [
        node.output[0]
        for node in view.nodes
        if node.op_type == "MatMul" and moved & set(node.input) and (held - moved) & set(node.input)
    ]
    missing = _reached(view, found)
    written = [
        node.output[0]
        for node in view.nodes
        if node.op_type in ("Mul", "MatMul") and moved & set(node.input) and missing & set(node.input)
    ]
    return not _reached(view, written).isdisjoint(pair.next_name for pair in view.graph.states)


def _reached(view: View, names: Iterable[str], operators: tuple[str, ...] = ()) -> set[str]:
    """The values and all that is computed from them, through these operators alone if any are named."""
    reached = set(names)
    for node in view.nodes:
        if reached.intersection(node.input) and (not operators or node.op_type in operators):
            reached.update(node.output)
    return reached
