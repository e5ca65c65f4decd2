"""If nodes whose condition is a constant: the branch that is taken put in their place."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.errors import UnsupportedModel
from millstream.fold import fold_constants


def decided(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every If decided whose condition does not depend on a frame; others are left."""
    made = model
    while (found := _constant_if(made := _folded(made))) is not None:
        made = _inlined(made, *found)
    return made


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return fold_constants(model)
    except UnsupportedModel:
        return model


def _constant_if(model: onnx.ModelProto) -> tuple[int, bool] | None:
    """The place of the first If with a constant condition, and its condition."""
    constants = {item.name: item for item in model.graph.initializer}
    for place, node in enumerate(model.graph.node):
        if node.op_type == "If" and node.input[0] in constants:
            return place, bool(onnx.numpy_helper.to_array(constants[node.input[0]]).all())
    return None


def _inlined(model: onnx.ModelProto, place: int, condition: bool) -> onnx.ModelProto:
    """The model with the If at `place` replaced by a branch, whose own names are made unique."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    chosen = graph.node[place]
    wanted = "then_branch" if condition else "else_branch"
    branch = next(a.g for a in chosen.attribute if a.name == wanted)
    results = {inner.name: outer for inner, outer in zip(branch.output, chosen.output, strict=True)}
    own = {item.name for item in branch.initializer} | {name for node in branch.node for name in node.output}
    prefix = f"{chosen.name or chosen.output[0]}.{wanted}."
    names = {name: prefix + name for name in own if name} | {k: v for k, v in results.items() if k in own}
    nodes = []
    for node in branch.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = prefix + node.name
        _rename(copy, names)
        nodes.append(copy)
    for item in branch.initializer:
        copy = onnx.TensorProto()
        copy.CopyFrom(item)
        copy.name = names[item.name]
        graph.initializer.append(copy)
    # A branch may hand on a value from outside as it is.
    passed = [(inner, outer) for inner, outer in results.items() if inner not in own]
    nodes += [onnx.helper.make_node("Identity", [inner], [outer]) for inner, outer in passed]
    kept = [*copied(graph.node[:place]), *nodes, *copied(graph.node[place + 1 :])]
    del graph.node[:]
    graph.node.extend(kept)
    return made


def copied(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Nodes that live on when the list they came from is cleared."""
    made = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        made.append(copy)
    return made


def _rename(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """Rename what a node reads and gives, and what the branches inside it read from here."""
    for field in (node.input, node.output):
        for place, name in enumerate(field):
            field[place] = names.get(name, name)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = attribute.g
            for each in inner.node:
                _rename(each, names)
            for value in inner.output:
                value.name = names.get(value.name, value.name)
