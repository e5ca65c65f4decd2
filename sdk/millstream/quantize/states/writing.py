"""Narrow states in the step graph: what they are kept as goes in and comes out, in between it is float32.

A state x stays one state of its name, and has more behind it where its storage has more parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.graph import BATCH, StatePair, StepGraph, build
from millstream.quantize.states.drift import Mix
from millstream.quantize.states.nodes import Nodes
from millstream.quantize.states.storage import Storage
from millstream_runtime.spec import ModelSpec, StateSpec

_FLOAT = ".float"


def narrowed(graph: StepGraph, mix: Mix) -> StepGraph:
    """The flat graph with the states of `mix` as these storages keep them; the graph itself without any."""
    if not mix:
        return graph
    return _Narrowing(graph, mix).run()


def narrowed_initial(graph: StepGraph, initial: Sequence[np.ndarray], mix: Mix) -> tuple[np.ndarray, ...]:
    """The initial states (no batch dimension) of the narrowed graph, from those of `graph`."""
    found: list[np.ndarray] = []
    for pair, value in zip(graph.states, initial, strict=True):
        storage = mix.get(pair.name)
        found += [part[0] for part in storage.encode(value[None])] if storage else [value]
    return tuple(found)


def narrowed_spec(spec: ModelSpec, mix: Mix) -> ModelSpec:
    """The contract of the narrowed step."""
    states: list[StateSpec] = []
    for state in spec.states:
        storage = mix.get(state.name)
        if storage is None:
            states.append(state)
            continue
        # A state of 0 is 0 in every part; any other initial state is stored.
        fill = 0 if state.fill == 0 else None
        states += [
            replace(
                state,
                name=state.name + part.suffix,
                next_name=state.next_name + part.suffix,
                shape=part.shape,
                dtype=part.dtype,
                fill=fill,
                rounded=part.dtype != "float32",
            )
            for part in storage.parts(state.shape)
        ]
    return replace(spec, states=tuple(states))


def widened(values: Mapping[str, np.ndarray], pair: StatePair, storage: Storage) -> np.ndarray:
    """The next state in float32, from the outputs of a narrowed graph."""
    shape = values[pair.next_name].shape[1:]
    return storage.decode(*(values[pair.next_name + part.suffix] for part in storage.parts(shape)))


class _Narrowing:
    """One narrowing: the nodes before and behind those of the graph, and the values that go in and out."""

    def __init__(self, graph: StepGraph, mix: Mix) -> None:
        self._graph = graph
        self._mix = mix
        self._tensors = {tensor.name: tensor for tensor in graph.state_tensors}

    def run(self) -> StepGraph:
        model = onnx.ModelProto()
        model.CopyFrom(self._graph.model)
        constants: dict[str, np.ndarray] = {}
        before, behind = Nodes(constants), Nodes(constants)
        renamed: dict[str, str] = {}
        pairs: list[StatePair] = []
        for pair in self._graph.states:
            storage = self._mix.get(pair.name)
            if storage is None:
                pairs.append(pair)
                continue
            shape = self._shape(pair.name)
            suffixes = [part.suffix for part in storage.parts(shape)]
            pairs += [StatePair(pair.name + suffix, pair.next_name + suffix) for suffix in suffixes]
            renamed |= {name: name + _FLOAT for name in (pair.name, pair.next_name)}
            storage.widen(before, pair.name, pair.name + _FLOAT, shape)
            storage.narrow(behind, pair.next_name + _FLOAT, pair.next_name, shape)
        for node in model.graph.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        _replace(model.graph.node, [*before.nodes, *model.graph.node, *behind.nodes])
        _replace(model.graph.input, self._values(model.graph.input, [p.name for p in self._graph.states]))
        after = [pair.next_name for pair in self._graph.states]
        _replace(model.graph.output, self._values(model.graph.output, after))
        model.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in constants.items())
        return build(model, pairs)

    def _values(
        self, given: Sequence[onnx.ValueInfoProto], names: Sequence[str]
    ) -> Iterator[onnx.ValueInfoProto]:
        """The graph's inputs or outputs, the states that stand under `names` with their new types."""
        states = dict(zip(names, self._graph.states, strict=True))
        for value in given:
            state = states[value.name].name if value.name in states else ""
            if state not in self._mix:
                yield value
                continue
            extent = self._tensors[state].shape[0]
            for part in self._mix[state].parts(self._shape(state)):
                dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(part.dtype))
                shape = [BATCH if extent is None else extent, *part.shape]
                yield onnx.helper.make_tensor_value_info(value.name + part.suffix, dtype, shape)

    def _shape(self, state: str) -> tuple[int, ...]:
        """Of a state, without the batch."""
        return tuple(extent or 0 for extent in self._tensors[state].shape[1:])


def _replace(field: Any, items: Iterable[Any]) -> None:
    """Put other items into a repeated field; they may come from it."""
    kept = list(items)
    del field[:]
    field.extend(kept)
