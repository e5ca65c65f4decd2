"""What TVM refuses of a graph: all nodes at once, although TVM itself stops at the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.gap import Gap
from millstream.graph import OPSET, Tensor, initializers, origin
from millstream.targets.relax.library import Refused, build, check
from millstream.targets.relax.limits import limit
from millstream.targets.relax.rewriting import types
from millstream.targets.tvm.levels import Level


def find_gaps(model: onnx.ModelProto, level: Level) -> list[Gap]:
    """Every node of a folded model that TVM refuses or is known to get wrong.

    When the whole does not compile, each node is tried as a model of its own. What only fails together is
    one gap, of the graph.
    """
    known, constants, nodes = types(model), initializers(model), model.graph.node
    limits = [limit(node, known, constants) for node in nodes]
    whole = ""
    if not any(limits):
        whole = _refusal(lambda: build(model.SerializeToString(deterministic=True), level))
        if not whole:
            return []
    tried: dict[bytes, str] = {}
    found = []
    for node, why in zip(nodes, limits, strict=True):
        why = why or _refused_alone(_alone(node, known, constants), level, tried)
        if why:
            found.append(Gap(node.op_type, node.name, origin(node), why))
    return found or [Gap("graph", "step.onnx", "", whole)]


def _refused_alone(model: onnx.ModelProto, level: Level, tried: dict[bytes, str]) -> str:
    """Why TVM refuses a model of one node; `tried` are the answers so far, as many nodes are alike."""
    key = model.SerializeToString(deterministic=True)
    if key not in tried:
        tried[key] = _refusal(lambda: check(model, level))
    return tried[key]


def _refusal(run: Callable[[], object]) -> str:
    """Why TVM does not get through, or an empty text."""
    try:
        run()
    except Refused as refused:
        return refused.why
    return ""


def _alone(
    node: onnx.NodeProto, known: Mapping[str, Tensor], constants: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """The node as a model, with names by place, so that nodes that are alike give equal models."""
    values = dict.fromkeys(filter(None, (*node.input, *node.output)))
    names = {name: f"v{place}" for place, name in enumerate(values)} | {"": ""}
    copy = onnx.helper.make_node(node.op_type, [], [], domain=node.domain)
    copy.attribute.extend(node.attribute)
    copy.input.extend(names[name] for name in node.input)
    copy.output.extend(names[name] for name in node.output)

    def declared(name: str) -> onnx.ValueInfoProto:
        kind = onnx.helper.np_dtype_to_tensor_dtype(known[name].dtype)
        return onnx.helper.make_tensor_value_info(names[name], kind, known[name].shape)

    read = dict.fromkeys(filter(None, node.input))
    graph = onnx.helper.make_graph(
        [copy],
        "node",
        [declared(name) for name in read if name not in constants],
        [declared(name) for name in node.output if name],
        [onnx.numpy_helper.from_array(constants[name], names[name]) for name in read if name in constants],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
