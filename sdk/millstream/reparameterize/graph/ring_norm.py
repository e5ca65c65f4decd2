"""A batch norm in front of a ring of past frames: its scale moves into the weights, the ring keeps zeros.

y = W * window of (a x + c). Zeros before the first frame stand for normalised zeros, so the shift stays in
front of the ring as c / a, and W takes a: the ring then holds x + c / a, which is zero where it was zero.

Needs: a ring that starts at zero, a without zeros, no reader but rings of past frames, through gates that
put zeros in place of frames. Gives: one multiplication per number less, and exact borders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
import onnx.helper

from millstream.graph import StepGraph, origin, set_origin
from millstream.reparameterize.graph.batch_norm import affine, is_constant
from millstream.reparameterize.graph.editing import GraphCandidate, View, edited, place

_RING = "CausalConvRing"


def ring_norm(graph: StepGraph, initial: Mapping[str, np.ndarray]) -> Iterable[GraphCandidate]:
    """Every batch norm that a ring reads; `initial` holds the initial value of each state."""
    view = View(graph)
    for node in view.nodes:
        if is_constant(view, node):
            found = _candidate(view, node, initial)
            if found:
                yield found


def _candidate(view: View, norm: onnx.NodeProto, initial: Mapping[str, np.ndarray]) -> GraphCandidate | None:
    rings, others = _readers(view, norm.output[0])
    if not rings:
        return None
    scale, shift = affine(view, norm)
    pairs = {pair.name: pair.next_name for pair in view.graph.states}
    for ring in rings:
        state, following = ring.input[3], ring.output[1]
        if pairs.get(state) != following or len(view.readers.get(state, ())) != 1:
            others.append(f"the state {state}, which is no ring of this convolution alone")
        elif initial[state].any():
            others.append(f"the state {state}, which does not start at zero")
        if view.constant(ring.input[1]) is None or len(view.readers[ring.input[1]]) != 1:
            others.append(f"{place(ring)}, whose weights are not its own")
    if others:
        return GraphCandidate(place(norm), why=f"it is also read by {', '.join(dict.fromkeys(others))}")
    if not scale.all():
        return GraphCandidate(place(norm), why="channels of scale 0 have no value that becomes zero")
    where = f"{place(norm)} + {', '.join(place(ring) for ring in rings)}"
    return GraphCandidate(where, lambda: _folded(view, norm, rings, scale, shift))


def _readers(view: View, value: str) -> tuple[list[onnx.NodeProto], list[str]]:
    """The rings that a value goes into as their frame, gates looked through; and who else reads it."""
    others = ["the outside"] if value in view.outputs else []
    rings: list[onnx.NodeProto] = []
    for reader in view.readers.get(value, ()):
        if reader.op_type == _RING and reader.input[0] == value and value not in list(reader.input)[1:]:
            rings.append(reader)
        elif reader.op_type == "Where" and _puts_zero(view, reader, value):
            further, more = _readers(view, reader.output[0])
            rings, others = rings + further, others + more
        else:
            others.append(place(reader))
    return rings, others


def _puts_zero(view: View, node: onnx.NodeProto, value: str) -> bool:
    other = next((name for name in node.input[1:] if name != value), "")
    constant = view.constant(other)
    return constant is not None and not constant.any()


def _folded(
    view: View, norm: onnx.NodeProto, rings: list[onnx.NodeProto], scale: np.ndarray, shift: np.ndarray
) -> StepGraph:
    dtype = view.constants[norm.input[1]].dtype
    name = view.fresh(f"{norm.output[0]}.shift")
    add = onnx.helper.make_node("Add", [norm.input[0], name], [norm.output[0]], name=f"{name} node")
    set_origin(add, origin(norm))
    added = {name: (shift / scale).astype(dtype)}
    for ring in rings:
        weight = view.constants[ring.input[1]]  # (O, K, C)
        added[ring.input[1]] = (weight.astype(np.float64) * scale).astype(weight.dtype)
    return edited(view.graph, [add if node is norm else node for node in view.nodes], added)
