"""Narrow states in the step graph: integers and their scales go in and come out, in between it is float32.

A state x becomes two: x itself, now of integers, and `x.largest` (blocks, 1), the largest magnitude of each
block; see `storage` for the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.graph import BATCH, StatePair, StepGraph, Tensor, build
from millstream.quantize.states.drift import Mix
from millstream.quantize.states.storage import TINY, Storage, block
from millstream_runtime.spec import ModelSpec, StateSpec

_LARGEST = ".largest"
_FLOAT = ".float"


def narrowed(graph: StepGraph, mix: Mix) -> StepGraph:
    """The flat graph with the states of `mix` as integers and scales; the graph itself without any."""
    if not mix:
        return graph
    return _Narrowing(graph, mix).run()


def narrowed_initial(graph: StepGraph, initial: Sequence[np.ndarray], mix: Mix) -> tuple[np.ndarray, ...]:
    """The initial states (no batch dimension) of the narrowed graph, from those of `graph`."""
    found: list[np.ndarray] = []
    for pair, value in zip(graph.states, initial, strict=True):
        if pair.name in mix:
            values, largest = mix[pair.name].encode(value[None])
            found += [values[0], largest[0]]
        else:
            found.append(value)
    return tuple(found)


def narrowed_spec(spec: ModelSpec, mix: Mix) -> ModelSpec:
    """The contract of the narrowed step."""
    states: list[StateSpec] = []
    for state in spec.states:
        storage = mix.get(state.name)
        if storage is None:
            states.append(state)
            continue
        size = int(np.prod(state.shape))
        shape = (size // block(size), 1)
        # An integer of 0 means 0 whatever its scale; any other initial state is stored.
        fill = 0 if state.fill == 0 else None
        largest = StateSpec(state.name + _LARGEST, state.next_name + _LARGEST, shape, "float32", fill)
        states += [replace(state, dtype=storage.dtype, fill=fill, rounded=True), largest]
    return replace(spec, states=tuple(states))


def widened(values: Mapping[str, np.ndarray], pair: StatePair, storage: Storage) -> np.ndarray:
    """The next state in float32, from the outputs of a narrowed graph."""
    return storage.decode(values[pair.next_name], values[pair.next_name + _LARGEST])


class _Narrowing:
    """One narrowing: the nodes before and behind those of the graph, and the values that go in and out."""

    def __init__(self, graph: StepGraph, mix: Mix) -> None:
        self._graph = graph
        self._mix = mix
        self._constants: dict[str, np.ndarray] = {}
        self._before: list[onnx.NodeProto] = []
        self._behind: list[onnx.NodeProto] = []

    def run(self) -> StepGraph:
        model = onnx.ModelProto()
        model.CopyFrom(self._graph.model)
        tensors = {tensor.name: tensor for tensor in self._graph.state_tensors}
        renamed: dict[str, str] = {}
        pairs: list[StatePair] = []
        for pair in self._graph.states:
            pairs.append(pair)
            if pair.name in self._mix:
                pairs.append(StatePair(pair.name + _LARGEST, pair.next_name + _LARGEST))
                renamed |= {name: name + _FLOAT for name in (pair.name, pair.next_name)}
                self._decode(pair.name, tensors[pair.name], self._mix[pair.name])
                self._encode(pair.next_name, tensors[pair.name], self._mix[pair.name])
        for node in model.graph.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        nodes = [*self._before, *model.graph.node, *self._behind]
        _replace(model.graph.node, nodes)
        _replace(model.graph.input, self._values(model.graph.input, [p.name for p in self._graph.states]))
        after = [pair.next_name for pair in self._graph.states]
        _replace(model.graph.output, self._values(model.graph.output, after))
        constants = (onnx.numpy_helper.from_array(array, name) for name, array in self._constants.items())
        model.graph.initializer.extend(constants)
        return build(model, pairs)

    def _decode(self, name: str, tensor: Tensor, storage: Storage) -> None:
        """Write name.float from the integers `name` and their `name.largest`."""
        blocks, add = f"{name}.blocks", self._before
        add.append(_node("Reshape", [name, self._blocks(tensor)], blocks))
        add.append(_node("Cast", [blocks], f"{name}.steps", to=onnx.TensorProto.FLOAT))
        add.append(_node("Div", [name + _LARGEST, self._most(storage)], f"{name}.step"))
        add.append(_node("Mul", [f"{name}.steps", f"{name}.step"], f"{name}.scaled"))
        add.append(_node("Reshape", [f"{name}.scaled", self._whole(tensor)], name + _FLOAT))

    def _encode(self, name: str, tensor: Tensor, storage: Storage) -> None:
        """Write the integers `name` and their `name.largest` from name.float."""
        tiny = self._constant("state.tiny", np.array(TINY, np.float32))
        axis = self._constant("state.axis", np.array([2], np.int64))
        blocks, add = f"{name}.blocks", self._behind
        add.append(_node("Reshape", [name + _FLOAT, self._blocks(tensor)], blocks))
        add.append(_node("Abs", [blocks], f"{name}.magnitude"))
        add.append(_node("ReduceMax", [f"{name}.magnitude", axis], name + _LARGEST, keepdims=1))
        add.append(_node("Max", [name + _LARGEST, tiny], f"{name}.divisor"))
        add.append(_node("Div", [self._most(storage), f"{name}.divisor"], f"{name}.inverse"))
        add.append(_node("Mul", [blocks, f"{name}.inverse"], f"{name}.steps"))
        add.append(_node("Round", [f"{name}.steps"], f"{name}.rounded"))
        code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(storage.dtype))
        add.append(_node("Cast", [f"{name}.rounded"], f"{name}.integers", to=code))
        add.append(_node("Reshape", [f"{name}.integers", self._whole(tensor)], name))

    def _values(
        self, given: Sequence[onnx.ValueInfoProto], names: Sequence[str]
    ) -> Iterator[onnx.ValueInfoProto]:
        """The graph's inputs or outputs, the states that stand under `names` with their new types."""
        states = dict(zip(names, self._graph.states, strict=True))
        tensors = {tensor.name: tensor for tensor in self._graph.state_tensors}
        for value in given:
            state = states[value.name].name if value.name in states else ""
            if state not in self._mix:
                yield value
                continue
            dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self._mix[state].dtype))
            shape, blocks = tensors[state].shape, _block_counts(tensors[state])
            batch = BATCH if shape[0] is None else shape[0]
            yield onnx.helper.make_tensor_value_info(value.name, dtype, [batch, *shape[1:]])
            scales = [batch, blocks[0], 1]
            yield onnx.helper.make_tensor_value_info(value.name + _LARGEST, onnx.TensorProto.FLOAT, scales)

    def _most(self, storage: Storage) -> str:
        return self._constant(f"state.most.{storage.dtype}", np.array(storage.most, np.float32))

    def _blocks(self, tensor: Tensor) -> str:
        return self._shape(_block_counts(tensor))

    def _whole(self, tensor: Tensor) -> str:
        return self._shape(tuple(extent or 0 for extent in tensor.shape[1:]))

    def _shape(self, extents: tuple[int, ...]) -> str:
        """The operand of a Reshape that keeps the batch."""
        name = "state.shape." + "x".join(map(str, extents))
        return self._constant(name, np.array([0, *extents], np.int64))

    def _constant(self, name: str, array: np.ndarray) -> str:
        self._constants[name] = array
        return name


def _block_counts(tensor: Tensor) -> tuple[int, int]:
    """How many blocks, and of how many values."""
    size = int(np.prod([extent or 0 for extent in tensor.shape[1:]]))
    return size // block(size), block(size)


def _node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    # What computed the state before may have a node named after it.
    name = f"{output} kept"
    return onnx.helper.make_node(operator, list(inputs), [output], name=name, **attributes)


def _replace(field: Any, items: Iterable[Any]) -> None:
    """Put other items into a repeated field; they may come from it."""
    kept = list(items)
    del field[:]
    field.extend(kept)
