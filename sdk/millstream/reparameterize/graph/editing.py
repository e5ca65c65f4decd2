"""A step graph looked at by value, and made anew with other nodes and constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx
import onnx.numpy_helper

from millstream import coarse
from millstream.graph import StatePair, StepGraph, build, initializers, origin


@dataclass(frozen=True)
class GraphCandidate:
    """A place in a step graph: how to make the rewritten graph, or why the precondition fails there.

    `initial` holds new initial values (no batch dimension) of the states that the rewritten graph keeps
    otherwise; the outputs must be looked at for so many `ticks` to see a difference.
    """

    where: str
    transform: Callable[[], StepGraph] | None = None
    why: str = ""
    initial: Mapping[str, np.ndarray] = field(default_factory=dict)
    ticks: int = 0


@dataclass(frozen=True)
class View:
    """Who computes and who reads every value of a graph, its constants and its known shapes."""

    graph: StepGraph

    @cached_property
    def nodes(self) -> Sequence[onnx.NodeProto]:
        """In the order of the graph."""
        return list(self.graph.model.graph.node)

    @cached_property
    def constants(self) -> Mapping[str, np.ndarray]:
        """Every initialiser."""
        return initializers(self.graph.model)

    @cached_property
    def writers(self) -> Mapping[str, onnx.NodeProto]:
        """The node that computes each value."""
        return {name: node for node in self.nodes for name in node.output if name}

    @cached_property
    def readers(self) -> Mapping[str, Sequence[onnx.NodeProto]]:
        """The nodes that read each value."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def outputs(self) -> frozenset[str]:
        """Model outputs and next states."""
        return frozenset(value.name for value in self.graph.model.graph.output)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """The extents of every value that has them; None for the batch, or an unknown one."""
        graph = self.graph.model.graph
        return {
            value.name: tuple(
                dim.dim_value if dim.HasField("dim_value") else None
                for dim in value.type.tensor_type.shape.dim
            )
            for value in (*graph.input, *graph.value_info, *graph.output)
            if value.type.tensor_type.HasField("shape")
        } | {name: array.shape for name, array in self.constants.items()}

    @cached_property
    def kinds(self) -> Mapping[str, int]:
        """The ONNX element type of every value that has one."""
        graph = self.graph.model.graph
        values = (*graph.input, *graph.value_info, *graph.output)
        return {v.name: v.type.tensor_type.elem_type for v in values} | {
            item.name: item.data_type for item in graph.initializer
        }

    def constant(self, name: str) -> np.ndarray | None:
        """A constant, or None."""
        return self.constants.get(name)

    def fresh(self, name: str) -> str:
        """A name like this one that no value has."""
        taken, number = {*self.writers, *self.constants, *self.shapes}, 0
        while (found := f"{name}.{number}") in taken:
            number += 1
        return found


def edited(
    graph: StepGraph,
    nodes: Sequence[onnx.NodeProto],
    added: Mapping[str, np.ndarray] | None = None,
    states: Mapping[str, tuple[int, ...]] | None = None,
) -> StepGraph:
    """The graph with these nodes, and further or changed constants; what no output needs is left out.

    The nodes may call coarse operations. `states` holds shapes, without batch, of states that have another.

    Raises GraphInvalid when the result breaks the contract.
    """
    added = added or {}
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    kept = list(_live(nodes, {value.name for value in model.graph.output}))[::-1]
    read = {name for node in kept for name in node.input} | {value.name for value in model.graph.output}
    constants = [item for item in model.graph.initializer if item.name in read and item.name not in added]
    constants += [onnx.numpy_helper.from_array(array, name) for name, array in added.items() if name in read]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(constants)
    _reshape(model, graph.states, states or {})
    functions = [*model.functions]
    del model.functions[:]
    if any(node.domain == coarse.DOMAIN for node in kept):
        _import_coarse(model)
        own = {function.name for function in functions}
        functions += [each for each in coarse.functions() if each.name not in own]
    return build(model, graph.states, functions)


def _import_coarse(model: onnx.ModelProto) -> None:
    """Let a model call coarse operations, in place."""
    if all(entry.domain != coarse.DOMAIN for entry in model.opset_import):
        model.opset_import.add(domain=coarse.DOMAIN, version=coarse.VERSION)


def _reshape(
    model: onnx.ModelProto, pairs: Sequence[StatePair], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Declare other shapes of states, in place; the batch stays."""
    names = {end: pair.name for pair in pairs for end in (pair.name, pair.next_name)}
    for value in (*model.graph.input, *model.graph.output):
        shape = shapes.get(names.get(value.name, ""))
        if shape is not None:
            extents = value.type.tensor_type.shape.dim
            del extents[1:]
            for extent in shape:
                extents.add(dim_value=extent)


def _live(nodes: Sequence[onnx.NodeProto], wanted: set[str]) -> Iterator[onnx.NodeProto]:
    """From the last node to the first, those that an output needs."""
    wanted = set(wanted)
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            yield node


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """A copy of a node that reads other values."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    return copy


def place(node: onnx.NodeProto) -> str:
    """What people know a node by: its module, and what it computes."""
    return f"{origin(node)}: {node.op_type}" if origin(node) else f"{node.op_type} {node.output[0]}"
