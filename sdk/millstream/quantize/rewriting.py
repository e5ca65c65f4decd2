"""A step graph being rewritten product by product: new nodes and constants with names of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.graph import StepGraph, build, initializers, origin, set_origin
from millstream.quantize.product import Product
from millstream.quantize.rounding import Rounded

_INT4 = ml_dtypes.iinfo(ml_dtypes.int4)
#: The integers of a product's weight.
Rounding = Callable[[Product, np.ndarray], Rounded]
#: Writes the nodes that stand in a product's place; the last one computes the product's output.
Rewrite = Callable[["Rewriting", Product], None]


def rewrite(graph: StepGraph, products: Sequence[Product], replace: Rewrite, rounding: Rounding) -> StepGraph:
    """The graph with each of the products written anew, by `replace` where it is not a lookup; all else stays
    as it is."""
    state = Rewriting(graph, rounding)
    by_output = {product.output: product for product in products}
    for node in graph.model.graph.node:
        product = by_output.get(node.output[0])
        if product is None:
            state.nodes.append(node)
        else:
            state.origin = origin(node)
            (_write_lookup if product.is_lookup else replace)(state, product)
    return state.finished()


def _write_lookup(writing: Rewriting, product: Product) -> None:
    """Rows of a table of integers, scaled back: y = float(table[i]) * scale[i].

    Every row has a scale of its own, that of its largest value. A row is read alone: no sum averages its
    noise, and all that follows sees it, so a table has no fewer than 8 bits in any format.
    """
    rounded = writing.rounded(product)
    values = writing.integers(product.weight, rounded.values)
    scales = writing.constant(f"{product.weight}.row scales", rounded.scale[:, None])
    row = writing.node("Gather", [values, product.activation])
    scale = writing.node("Gather", [scales, product.activation])
    wide = writing.node("Cast", [row], to=onnx.TensorProto.FLOAT)
    writing.node("Mul", [wide, scale], product.output)


class Rewriting:
    """Nodes in order, and constants by name. `origin` is the module path that new nodes come from."""

    def __init__(self, graph: StepGraph, rounding: Rounding) -> None:
        self.constants: Mapping[str, np.ndarray] = initializers(graph.model)
        self.nodes: list[onnx.NodeProto] = []
        self.origin = ""
        self._graph = graph
        self._rounding = rounding
        self._added: dict[str, np.ndarray] = {}
        self._rounded: dict[tuple[str, int], Rounded] = {}
        self._widened: dict[str, str] = {}
        self._taken = set(self.constants) | {value.name for value in graph.model.graph.input}
        self._taken.update(name for node in graph.model.graph.node for name in node.output)

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its result: `output`, or a new one."""
        output = output or self._new(operator)
        node = onnx.helper.make_node(operator, list(inputs), [output], name=f"{output} node", **attributes)
        set_origin(node, self.origin)
        self.nodes.append(node)
        return output

    def constant(self, name: str, array: np.ndarray) -> str:
        """Add a constant once and return its name, which is another one where the graph has a different array
        under `name` from a format that went before."""
        while name in self.constants and not np.array_equal(self.constants[name], array):
            name += "'"
        if name not in self.constants:
            self._added.setdefault(name, array)
        return name

    def integers(self, name: str, values: np.ndarray) -> str:
        """Add the values of a weight: as INT4, two in a byte with a cast behind, where all of int8 fit."""
        if values.dtype != np.int8 or values.min() < _INT4.min or values.max() > _INT4.max:
            return self.constant(f"{name}.{values.dtype}", values)
        if name not in self._widened:
            packed = self.constant(f"{name}.int4", values.astype(ml_dtypes.int4))
            self._widened[name] = self.node("Cast", [packed], to=onnx.TensorProto.INT8)
        return self._widened[name]

    def rounded(self, product: Product) -> Rounded:
        """The integers of the product's weight; weights that several products share are rounded once."""
        key = (product.weight, product.channel)
        if key not in self._rounded:
            self._rounded[key] = self._rounding(product, self.constants[product.weight])
        return self._rounded[key]

    def finished(self) -> StepGraph:
        """The new graph, with the constants that it still reads. Raises GraphInvalid."""
        model = onnx.ModelProto()
        model.CopyFrom(self._graph.model)
        read = {name for node in self.nodes for name in node.input}
        read.update(value.name for value in model.graph.output)
        kept = [item for item in model.graph.initializer if item.name in read]
        kept += [onnx.numpy_helper.from_array(array, name) for name, array in self._added.items()]
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(kept)
        return build(model, self._graph.states)

    def _new(self, operator: str) -> str:
        number = len(self.nodes)
        while (name := f"quantized.{number}.{operator}") in self._taken:
            number += 1
        self._taken.add(name)
        return name
