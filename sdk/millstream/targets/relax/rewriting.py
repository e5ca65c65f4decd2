"""Rewriting a model node by node before TVM sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.graph import Tensor, initializers, tensor

#: Adds to the writer what stands in a node's place, which may be the node itself.
Rewrite = Callable[["Writer", onnx.NodeProto], None]


def rewrite(model: onnx.ModelProto, replace: Rewrite) -> onnx.ModelProto:
    """The model with every node written anew by `replace`; `model` stays as it is."""
    writer = Writer(model)
    for node in model.graph.node:
        replace(writer, node)
    return writer.finished()


class Writer:
    """Nodes in order, and new constants; what is added has names that nothing else has."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.types = types(model)
        self.constants: Mapping[str, np.ndarray] = initializers(model)
        self._model = model
        self._nodes: list[onnx.NodeProto] = []
        self._added: dict[str, np.ndarray] = {}
        self._taken = {*self.types, *self.constants, *(name for n in model.graph.node for name in n.output)}

    def keep(self, node: onnx.NodeProto) -> None:
        """Add a node as it is."""
        self._nodes.append(node)

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a new node and return the name of its result: `output`, or a new one."""
        output = output or self.name(operator)
        self._nodes.append(onnx.helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, array: np.ndarray) -> str:
        """Add a constant and return its name."""
        name = self.name("constant")
        self._added[name] = array
        return name

    def name(self, what: str) -> str:
        """A name that nothing has."""
        number = len(self._taken)
        while (name := f"{what}.{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name

    def finished(self) -> onnx.ModelProto:
        """The new model, with the constants that it still reads."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.node[:], model.graph.value_info[:]
        model.graph.node.extend(self._nodes)
        added = [onnx.numpy_helper.from_array(array, name) for name, array in self._added.items()]
        read = {name for node in self._nodes for name in node.input}
        read.update(value.name for value in model.graph.output)
        kept = [item for item in (*self._model.graph.initializer, *added) if item.name in read]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)


def types(model: onnx.ModelProto) -> dict[str, Tensor]:
    """Dtype and shape of every value whose shape is known, constants among them."""
    graph = model.graph
    found = {
        value.name: tensor(value)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
        and all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    }
    constants = initializers(model).items()
    return {**found, **{name: Tensor(name, array.dtype, array.shape) for name, array in constants}}
