"""The step graph: an ONNX model that is a pure function (inputs, states) -> (outputs, next states).

The rules that `StepGraph.check` keeps are the contract of the house: one pinned opset, static shapes but
for one symbolic leading batch dimension, no control flow, and state pairs written in the metadata.
Graph inputs are the model inputs (the `valid` flag last, when there is look-ahead), then the states;
graph outputs are the model outputs, then the next states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx.inliner
import onnx.numpy_helper
import onnx.shape_inference

from millstream.errors import GraphInvalid

#: The one opset of every step graph: the newest that has blocked quantization and that every
#: onnxruntime of the last two years opens without a switch.
OPSET = 21
IR_VERSION = 10
BATCH = "B"

_STATES_KEY = "millstream.states"
_ORIGIN_KEY = "millstream.origin"
_CONTROL_FLOW = ("Loop", "Scan", "If", "SequenceMap")


@dataclass(frozen=True)
class Tensor:
    """A typed value of the graph; a dimension of None is the symbolic batch."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class StatePair:
    """The graph input `name` is fed by the graph output `next_name` of the step before."""

    name: str
    next_name: str


@dataclass(frozen=True)
class StepGraph:
    """An ONNX model that keeps the contract. Treat `model` as read-only: passes make a new graph."""

    model: onnx.ModelProto

    @property
    def states(self) -> tuple[StatePair, ...]:
        """State pairs in graph order, from the metadata."""
        for prop in self.model.metadata_props:
            if prop.key == _STATES_KEY:
                return tuple(StatePair(a, b) for a, b in json.loads(prop.value))
        return ()

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Model inputs (with `valid`), states left out."""
        return self._without(self.model.graph.input, {pair.name for pair in self.states})

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Model outputs, next states left out."""
        return self._without(self.model.graph.output, {pair.next_name for pair in self.states})

    @property
    def state_tensors(self) -> tuple[Tensor, ...]:
        """The state inputs, in graph order."""
        by_name = {value.name: value for value in self.model.graph.input}
        return tuple(tensor(by_name[pair.name]) for pair in self.states)

    @property
    def batch(self) -> int | None:
        """The fixed batch size, or None when the batch is symbolic."""
        return tensor(self.model.graph.input[0]).shape[0]

    def to_bytes(self) -> bytes:
        """Deterministic serialisation: the same graph gives the same bytes."""
        return self.model.SerializeToString(deterministic=True)

    def sha256(self) -> str:
        """Hex SHA-256 of `to_bytes`: the identity of the model."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def flatten(self) -> StepGraph:
        """The same graph with every model-local function replaced by its primitive body."""
        return StepGraph(_infer(onnx.inliner.inline_local_functions(self.model)))

    def specialize(self, batch: int) -> StepGraph:
        """The same graph for one fixed batch size, every shape inferred anew."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.value_info[:]
        for value in (*model.graph.input, *model.graph.output):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:
                    dim.dim_value = batch
        return StepGraph(_infer(model))

    def check(self) -> StepGraph:
        """Return the graph itself when it keeps the contract, else raise GraphInvalid with every breach."""
        breaches = list(_breaches(self))
        if breaches:
            raise GraphInvalid("the step graph breaks the contract", why="; ".join(breaches))
        return self

    @staticmethod
    def _without(values: Iterable[onnx.ValueInfoProto], names: set[str]) -> tuple[Tensor, ...]:
        return tuple(tensor(value) for value in values if value.name not in names)


def build(
    model: onnx.ModelProto, states: Sequence[StatePair], functions: Sequence[onnx.FunctionProto] = ()
) -> StepGraph:
    """A checked step graph from an exported model, its state pairs and the coarse functions it calls.

    `model` is copied. Raises GraphInvalid when the result breaks the contract.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = IR_VERSION
    used = {(node.domain, node.op_type) for node in copy.graph.node}
    copy.functions.extend(f for f in functions if (f.domain, f.name) in used)
    del copy.graph.value_info[:]
    del copy.metadata_props[:]
    pairs = [[pair.name, pair.next_name] for pair in states]
    onnx.helper.set_model_props(copy, {_STATES_KEY: json.dumps(pairs)})
    return StepGraph(_infer(copy)).check()


def tensor(value: onnx.ValueInfoProto) -> Tensor:
    """The dtype and shape of a graph value; symbolic dimensions become None."""
    kind = value.type.tensor_type
    shape = tuple(None if dim.dim_param else dim.dim_value for dim in kind.shape.dim)
    return Tensor(value.name, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type), shape)


def initializers(model: onnx.ModelProto) -> Mapping[str, np.ndarray]:
    """Every initialiser as an array, by name."""
    return {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def origin(node: onnx.NodeProto) -> str:
    """The module path that a node came from, or an empty text."""
    for prop in node.metadata_props:
        if prop.key == _ORIGIN_KEY:
            return prop.value
    return ""


def set_origin(node: onnx.NodeProto, path: str) -> None:
    """Replace a node's metadata by the one fact that we keep: the module path it came from."""
    del node.metadata_props[:]
    if path:
        node.metadata_props.add(key=_ORIGIN_KEY, value=path)


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """Shapes of every value. Raises GraphInvalid when they contradict each other or cannot be inferred."""
    _declare_normalized(model)
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise GraphInvalid("the shapes of the graph cannot be inferred", why=str(error)) from error


#: Operators whose result is typed and shaped as their first operand, which onnx does not infer by itself.
_LIKE_FIRST = ("GroupNormalization",)


def _declare_normalized(model: onnx.ModelProto) -> None:
    """Write down, in place, types that onnx's inference does not find, where those of operands are known."""
    waiting = [node for node in model.graph.node if node.op_type in _LIKE_FIRST]
    while waiting:
        found = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        known = {v.name: v for v in (*found.input, *found.value_info, *found.output)}
        ready = [node for node in waiting if node.input[0] in known]
        if not ready:
            return
        for node in ready:
            model.graph.value_info.add(name=node.output[0], type=known[node.input[0]].type)
        waiting = [node for node in waiting if node.input[0] not in known]


def _breaches(graph: StepGraph) -> Iterator[str]:
    model = graph.model
    try:
        onnx.checker.check_model(model, full_check=False)
    except onnx.checker.ValidationError as error:
        yield f"onnx.checker: {error}"
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions.get("") != OPSET:
        yield f"opset {versions.get('')}, not {OPSET}"
    local = {(f.domain, f.name) for f in model.functions}
    nodes = [node for body in (model.graph, *model.functions) for node in body.node]
    for node in nodes:
        if node.op_type in _CONTROL_FLOW:
            yield f"control flow: {node.op_type} at {node.name or node.output[0]}"
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in local:
            yield f"{node.domain}::{node.op_type} has no body in the model"
    yield from _shape_breaches(graph)
    yield from _pair_breaches(graph)


def _shape_breaches(graph: StepGraph) -> Iterator[str]:
    for value in (*graph.model.graph.input, *graph.model.graph.output):
        if not value.type.tensor_type.HasField("shape"):
            yield f"{value.name} has no shape"
            continue
        shape = value.type.tensor_type.shape.dim
        for place, dim in enumerate(shape):
            if dim.dim_param and (place or dim.dim_param != BATCH):
                yield f"{value.name} has a symbolic dimension {dim.dim_param!r} at place {place}"
            if not dim.dim_param and not dim.HasField("dim_value"):
                yield f"{value.name} has an unknown dimension at place {place}"
        if not shape:
            yield f"{value.name} has no leading batch dimension"


def _pair_breaches(graph: StepGraph) -> Iterator[str]:
    inputs = [value.name for value in graph.model.graph.input]
    outputs = [value.name for value in graph.model.graph.output]
    pairs = graph.states
    count = len(pairs)
    if count and inputs[-count:] != [pair.name for pair in pairs]:
        yield "the states are not the last graph inputs, in order"
    if count and outputs[-count:] != [pair.next_name for pair in pairs]:
        yield "the next states are not the last graph outputs, in order"
    values = {v.name: v for v in (*graph.model.graph.input, *graph.model.graph.output)}
    for pair in pairs:
        if pair.name not in values or pair.next_name not in values:
            yield f"state pair {pair.name} -> {pair.next_name} names no graph value"
            continue
        before, after = tensor(values[pair.name]), tensor(values[pair.next_name])
        if (before.dtype, before.shape) != (after.dtype, after.shape):
            yield (
                f"state {pair.name} is {before.dtype}{before.shape} "
                f"and its next value {after.dtype}{after.shape}"
            )
