"""Constant folding: whatever does not depend on an input is computed once, by the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference

from millstream.errors import UnsupportedModel
from millstream.graph import StepGraph, attributes
from millstream.reference import evaluate

_Shapes = Mapping[str, tuple[int | None, ...]]

#: Folding a dequantized weight would store floats in place of the integers.
_KEPT = ("DequantizeLinear",)


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that computes the same outputs with fewer nodes; `model` stays as it is.

    Nodes whose inputs are all constant become initialisers, and so do Shape and Size of values whose
    extents are known. Identity and Dropout of a model in evaluation disappear, as do nodes and
    initialisers that no output needs. Graph inputs and outputs keep their names, nodes their order and
    metadata. The same model gives the same result. What DequantizeLinear makes of constants is not folded:
    the small integers are the point.
    """
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    while _fold_once(folded):
        # A folded shape can make more extents known, which the next round sees.
        pass
    _bypass(folded)
    _drop_dead(folded)
    return folded


def single_stream(graph: StepGraph) -> onnx.ModelProto:
    """One stream's step as compilers take it: functions inlined, batch 1, constants folded, nodes named.

    Shapes are inferred once more, as folded sizes tell of some.
    """
    folded = fold_constants(graph.flatten().specialize(1).model)
    model = onnx.shape_inference.infer_shapes(folded, data_prop=True)
    for place, node in enumerate(model.graph.node):
        if not node.name:
            node.name = f"{node.op_type}_{place}"
    return model


def _fold_once(model: onnx.ModelProto) -> bool:
    """Replace every node that is constant now by initialisers; whether there was any."""
    shapes = _shapes(model)
    overridable = {value.name for value in model.graph.input}
    constants = {item.name: item for item in model.graph.initializer if item.name not in overridable}
    kept = []
    for node in model.graph.node:
        results = _constant_results(model, node, constants, shapes)
        if results is None:
            kept.append(node)
        else:
            constants.update(results)
            model.graph.initializer.extend(results.values())
    if len(kept) == len(model.graph.node):
        return False
    _keep(model.graph.node, kept)
    return True


def _constant_results(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    constants: Mapping[str, onnx.TensorProto],
    shapes: _Shapes,
) -> dict[str, onnx.TensorProto] | None:
    """The outputs of a node by name, or None when they are not constant."""
    extents = _extents(node, shapes)
    if extents is not None:
        name = node.output[0]
        return {name: onnx.numpy_helper.from_array(extents, name)}
    read = [name for name in node.input if name]
    if node.op_type in _KEPT or any(name not in constants for name in read):
        return None
    alone = _model_of(model, node, [constants[name] for name in dict.fromkeys(read)])
    try:
        results = evaluate(alone, {})
    except UnsupportedModel:
        # Random operators and the like stay where they are.
        return None
    return {name: onnx.numpy_helper.from_array(array, name) for name, array in results.items()}


def _model_of(
    model: onnx.ModelProto, node: onnx.NodeProto, initializers: list[onnx.TensorProto]
) -> onnx.ModelProto:
    """A model of one node over constants, with the local functions of the whole."""
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], node.name or node.op_type, [], outputs, initializers)
    return onnx.helper.make_model(graph, functions=model.functions, opset_imports=model.opset_import)


def _extents(node: onnx.NodeProto, shapes: _Shapes) -> np.ndarray | None:
    """What Shape or Size gives for a value whose extents are known; None for anything else."""
    if node.op_type not in ("Shape", "Size") or node.domain not in ("", "ai.onnx"):
        return None
    shape = shapes.get(node.input[0])
    if shape is None:
        return None
    window = attributes(node)
    wanted = shape[slice(window.get("start", 0), window.get("end"))]
    if None in wanted:
        return None
    known = np.array(wanted, np.int64)
    return known if node.op_type == "Shape" else np.array(known.prod(), np.int64)


def _shapes(model: onnx.ModelProto) -> _Shapes:
    """The inferred extents of every value, None for one that is not known."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _bypass(model: onnx.ModelProto) -> None:
    """Take copies out of the graph: their readers read the source of the copy instead."""
    graph = model.graph
    outputs = {value.name for value in graph.output}
    computed = {name for node in graph.node for name in node.output}
    captured = {name for node in graph.node for name in _captures(node)}
    for node in _copies(model):
        source, result = node.input[0], node.output[0]
        if result not in outputs | captured:
            _rename(graph, result, source)
        elif source in computed - outputs - captured:
            # The result must keep its name, so the source takes it where it is computed.
            _rename(graph, source, result)
        else:
            continue
        graph.node.remove(node)


def _copies(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Identity nodes, and Dropout nodes that are off and whose mask nobody reads."""
    falses = {
        item.name
        for item in model.graph.initializer
        if item.data_type == onnx.TensorProto.BOOL and not onnx.numpy_helper.to_array(item).any()
    }
    read = {name for node in model.graph.node for name in _reads(node)}
    read |= {value.name for value in model.graph.output}
    return [
        node
        for node in model.graph.node
        if node.domain in ("", "ai.onnx")
        and (node.op_type == "Identity" or (node.op_type == "Dropout" and _is_off(node, falses, read)))
    ]


def _is_off(dropout: onnx.NodeProto, falses: set[str], read: set[str]) -> bool:
    training_mode = "".join(dropout.input[2:3])
    return (not training_mode or training_mode in falses) and not read.intersection(dropout.output[1:])


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _drop_dead(model: onnx.ModelProto) -> None:
    """Keep the nodes, initialisers and value infos that the graph outputs need."""
    graph = model.graph
    live = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if live.intersection(node.output):
            live.update(_reads(node))
            kept.append(node)
    _keep(graph.node, kept[::-1])
    _keep(graph.initializer, [item for item in graph.initializer if item.name in live])
    _keep(graph.value_info, [value for value in graph.value_info if value.name in live])


def _keep(field: Any, items: list[Any]) -> None:
    """Make a repeated protobuf field hold exactly these items."""
    del field[:]
    field.extend(items)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The values that a node reads, also those that its subgraphs take from around it."""
    yield from (name for name in node.input if name)
    yield from _captures(node)


def _captures(node: onnx.NodeProto) -> Iterator[str]:
    """Every name that the node's subgraphs read; a few of them may be the subgraphs' own."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _reads(inner)
