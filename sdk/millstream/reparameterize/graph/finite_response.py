"""A linear memory that forgets becomes a ring of what was written into it.

m[t] = A m[t-1] + B u[t] is the sum over j of A^j B u[t - j]. From some j = K on all terms together are less
than what float32 loses in the recurrence; there the sum ends, and a ring of the last scalars holds all that
the memory knew. The window of a Legendre memory does not cut off, but what is left behind it dies fast: of
order 256 and 128 frames 181 terms count. What reads the memory by one product goes into the terms as well.
Nothing is fed back any more, so that weights and state bear a coarse rounding.

Needs: constant A and B; a memory that starts at zero, whose past nothing else reads but a gate that keeps it.
Gives: K multiplications for each value of the memory, or for each that is read of it, in place of order + 1
and the product that reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.helper
import torch

from millstream.coarse import DOMAIN
from millstream.graph import StatePair, StepGraph, origin, set_origin
from millstream.reparameterize.graph.editing import GraphCandidate, View, edited, place, renamed
from millstream.reparameterize.graph.linear_memories import LinearMemory, linear_memories
from millstream.reparameterize.graph.reading import Reading, reading
from millstream_models.lmuformer.memory import impulse_response

#: What may be cut off of all that a value gets from one input over time: float32 loses it in the recurrence.
_REST = 1e-6
#: A memory that has not halved after so many frames takes more terms than it has values.
_SLOWEST = 1024
#: A memory that grows so far does not forget.
_GROWN = 1e6
#: So many halvings are looked at; what follows them is below 2^-32 of the whole.
_HALVINGS = 32


def finite_response(graph: StepGraph, initial: Mapping[str, np.ndarray]) -> Iterable[GraphCandidate]:
    """Every linear memory; `initial` holds the initial value of each state."""
    view = View(graph)
    for memory in linear_memories(view):
        yield _candidate(view, memory, initial)


def terms(transition: np.ndarray, input_matrix: np.ndarray) -> np.ndarray | None:
    """The terms A^j B that count, (order, K), of A (order, order) and B (order,), all float64; None where too
    many do."""
    power, halved = transition, 1
    while (largest := np.abs(power).sum(1).max()) > 0.5:
        if halved == _SLOWEST or largest > _GROWN:
            return None
        power, halved = power @ power, 2 * halved
    a, b = (torch.from_numpy(array) for array in (transition, input_matrix))
    response = impulse_response(a, b, _HALVINGS * halved).numpy()
    rest = np.abs(response)[:, ::-1].cumsum(1)[:, ::-1]
    return response[:, : int((rest > _REST * rest[:, :1]).any(0).sum())]


@dataclass(frozen=True)
class _Own:
    """A memory whose state is its own: its pair of states, and the gate that may keep the state."""

    memory: LinearMemory
    pair: StatePair
    gate: onnx.NodeProto | None


def _candidate(view: View, memory: LinearMemory, initial: Mapping[str, np.ndarray]) -> GraphCandidate:
    where, own = place(memory.node), _own(view, memory)
    if own is None:
        return GraphCandidate(where, why="another reads its state, or what keeps its state is no gate")
    start = initial[memory.past]
    if start.any():
        return GraphCandidate(where, why=f"the state {memory.past} does not start at zero")
    found = terms(memory.transition, memory.input_matrix)
    if found is None or found.shape[1] < 2:
        return GraphCandidate(where, why="it forgets too slowly, or at once")
    ring = {memory.past: np.zeros((found.shape[1] - 1, 1), start.dtype)}
    # Only behind all terms would what was cut off be missed.
    return GraphCandidate(where, lambda: _rewritten(view, own, found), initial=ring, ticks=2 * found.shape[1])


def _own(view: View, memory: LinearMemory) -> _Own | None:
    past, present = memory.past, memory.present
    pair = next(pair for pair in view.graph.states if pair.name == past)
    others = [reader for reader in view.readers[past] if reader is not memory.reader]
    if pair.next_name == present:
        return None if others else _Own(memory, pair, None)
    gate = view.writers.get(pair.next_name)
    if gate is None or gate.op_type != "Where" or {*gate.input[1:]} != {past, present} or others != [gate]:
        return None
    # Whether the memory is kept must be said for each stream as a whole.
    return _Own(memory, pair, gate) if view.shapes.get(gate.input[0], (0,))[1:] == (1,) else None


def _rewritten(view: View, own: _Own, found: np.ndarray) -> StepGraph:
    """The graph with a ring of the last K - 1 inputs in place of the memory."""
    memory, gate, present = own.memory, own.gate, own.memory.present
    read = _read(view, own, found)
    weight, bias = (read.weight @ found, read.bias) if read else (found, np.zeros(len(found)))
    value = _value(view, own, read)
    following = view.fresh(f"{present}.ring") if gate else own.pair.next_name
    taps, shift, beside, axis = (view.fresh(f"{present}.{end}") for end in ("taps", "bias", "beside", "axis"))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(view.kinds[memory.past])
    # The ring holds the oldest input first.
    added = {taps: weight[:, ::-1, None].astype(dtype), shift: bias.astype(dtype)}
    operands = [memory.drive, taps, shift, memory.past]
    made = {id(memory.node): [_node("CausalConvRing", operands, [value, following], domain=DOMAIN)]}
    if read:
        made[id(read.node)] = _with_the_rest(view, read, value, beside) if read.beside else []
        added[beside] = read.beside_weight.astype(dtype)
    if gate:
        made[id(gate)] = _gated(view, gate, present, following, axis)
        added[axis] = np.array([2], np.int64)
    for each in made[id(memory.node)]:
        set_origin(each, origin(memory.node))
    names = {present: value}
    nodes = [each for node in view.nodes for each in made.get(id(node), [renamed(node, names)])]
    return edited(view.graph, nodes, added, {memory.past: (found.shape[1] - 1, 1)})


def _read(view: View, own: _Own, found: np.ndarray) -> Reading | None:
    """What reads the memory, where it takes fewer multiplications to read the ring at once."""
    present = own.memory.present
    readers = [reader for reader in view.readers.get(present, ()) if reader is not own.gate]
    read, (order, count) = reading(view, present, readers), found.shape
    if own.gate and present in view.outputs:
        return None
    if read is None or len(read.weight) * count >= order * count + len(read.weight) * order:
        return None
    return read


def _value(view: View, own: _Own, read: Reading | None) -> str:
    """The name of what the taps give: all that is read, or the memory, whose name the state may have."""
    if read and not read.beside:
        return read.node.output[0]
    present = own.memory.present
    return present if own.gate and not read else view.fresh(f"{present}.value")


def _with_the_rest(view: View, read: Reading, value: str, weight: str) -> list[onnx.NodeProto]:
    """y = what is read of the ring + the product of what stood beside the memory."""
    result = read.node.output[0]
    joined, other = view.fresh(f"{result}.joined"), view.fresh(f"{result}.other")
    nodes: list[onnx.NodeProto] = []
    if len(read.beside) == 1:
        joined = read.beside[0]
    else:
        nodes.append(_node("Concat", read.beside, [joined], axis=1))
    nodes.append(_node("Gemm", [joined, weight], [other], transB=1))
    nodes.append(_node("Add", [value, other], [result]))
    for node in nodes:
        set_origin(node, origin(read.node))
    return nodes


def _gated(view: View, gate: onnx.NodeProto, present: str, following: str, axis: str) -> list[onnx.NodeProto]:
    """The gate (batch, 1) of a vector, for a ring (batch, K - 1, 1)."""
    condition = view.fresh(f"{gate.output[0]}.condition")
    sides = [following if name == present else name for name in gate.input[1:]]
    nodes = [
        _node("Unsqueeze", [gate.input[0], axis], [condition]),
        _node("Where", [condition, *sides], [gate.output[0]]),
    ]
    for node in nodes:
        set_origin(node, origin(gate))
    return nodes


def _node(
    operator: str, operands: Sequence[str], results: Sequence[str], **attributes: Any
) -> onnx.NodeProto:
    return onnx.helper.make_node(operator, operands, results, name=f"{results[0]} node", **attributes)
