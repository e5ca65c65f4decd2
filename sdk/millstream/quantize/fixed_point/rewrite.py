"""From a float step graph to its fixed-point form: the whole core at once, or a refusal naming every node.

Formulas are put off: a chain of factors and offsets becomes one FixedScale, and a chain of functions of one
value (a GELU written as erf, x * sigmoid(x)) one table. A ReLU behind a rounding is its lower limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx.numpy_helper

from millstream.gap import Gap, refuse
from millstream.graph import StepGraph, attributes, build, initializers, origin
from millstream.quantize.calibration import Calibration
from millstream.quantize.fixed_point import functions
from millstream.quantize.fixed_point.canonical import canonical
from millstream.quantize.fixed_point.keys import short_keys
from millstream.quantize.fixed_point.ranges import MOVES, Ranges, ranges
from millstream.quantize.fixed_point.region import COMPARISONS, Region, gap, read_by, split
from millstream.quantize.fixed_point.widths import WORD, Widths
from millstream.quantize.fixed_point.writer import (
    LOWEST,
    Affine,
    Power,
    Square,
    Squares,
    Threshold,
    Unary,
    Writer,
)
from millstream.quantize.product import Product, find
from millstream.quantize.recurrence import drifting, states_read
from millstream.reference.operators import OPERATORS

#: Functions of one value that a table can hold.
TABLES = ("Abs", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Reciprocal",
          "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh")  # fmt: skip
BINARY = ("Add", "Sub", "Mul", "Div")


def fixed16(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> StepGraph:
    """The step with constants, activations and states of 16 bits; `products` says nothing here.

    Raises UnsupportedOperators naming every node that has no fixed-point form, DataInvalid.
    """
    return written(ready(graph, calibration), Widths())


def fixed16_w8(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> StepGraph:
    """The same with weights of 8 bits in every product that is worth it and whose states bear it.

    Those that multiply a state are tried alone, as `drifting` says. Raises as `fixed16`.
    """
    form = ready(graph, calibration)
    found = [product for product in find(form.graph)[0] if not (product.small or product.is_lookup)]
    rectified = _rectified(form.region.core, form.graph)

    def narrow(some: Sequence[Product]) -> StepGraph:
        names = (product.output for product in some)
        return written(form, Widths(bytes=frozenset(rectified.get(name, name) for name in names)))

    drifts = drifting(form.graph, found, states_read(form.graph, found), narrow, calibration)
    return narrow([product for product in found if product.output not in drifts])


@dataclass(frozen=True)
class Ready:
    """A float graph that has a fixed-point form, and the ranges of what its core computes.

    `inputs` and `names` are the values of the core that enter, and all of them in order.
    """

    graph: StepGraph
    region: Region
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    ranges: Ranges


def ready(graph: StepGraph, calibration: Calibration) -> Ready:
    """A flat, folded graph prepared to be written in any widths.

    Raises UnsupportedOperators naming every node that has no fixed-point form, DataInvalid.
    """
    graph = canonical(short_keys(graph))
    region, gaps = split(graph)
    found = [*gaps, *_gaps(region, graph)]
    refuse({"fixed point": found})
    inputs = tuple(t.name for t in graph.inputs if t.dtype == np.float32)
    names = (*inputs, *region.states, *(name for node in region.core for name in node.output))
    return Ready(graph, region, inputs, names, ranges(graph, region.core, names, calibration))


def written(form: Ready, widths: Widths) -> StepGraph:
    """The fixed-point form of a graph in these widths."""
    graph, region = form.graph, form.region
    bits = {name: widths.values.get(form.ranges.group(name), WORD) for name in form.names}
    fraction = {name: form.ranges.fraction(name, bits[name]) for name in form.names}
    writer = Writer(initializers(graph.model), fraction, form.ranges.positive, replace(widths, values=bits))
    for name in form.inputs:
        writer.enter(name)
    for name in region.states:
        writer.keep(name)
    core = _Core(writer, _rectified(region.core, graph))
    for node in region.core:
        core.write(node)
    left = {value.name for value in graph.model.graph.output} | read_by(region.around)
    for name in form.names:
        if name in left and name not in form.inputs and name not in region.states:
            writer.leave(name)
    return _finished(graph, region, writer)


def _finished(graph: StepGraph, region: Region, writer: Writer) -> StepGraph:
    nodes = [*writer.nodes, *region.around]
    read = read_by(nodes)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    kept = [item for item in model.graph.initializer if item.name in read]
    kept += [onnx.numpy_helper.from_array(a, name) for name, a in writer.added.items() if name in read]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)
    domains = {entry.domain for entry in model.opset_import}
    if functions.DOMAIN not in domains:
        model.opset_import.add(domain=functions.DOMAIN, version=1)
    return build(model, graph.states, functions.functions())


def _rectified(nodes: Sequence[onnx.NodeProto], graph: StepGraph) -> dict[str, str]:
    """Value -> the result of the one ReLU that is all that reads it."""
    readers = Counter(name for node in graph.model.graph.node for name in node.input)
    readers.update(value.name for value in graph.model.graph.output)
    return {
        node.input[0]: node.output[0]
        for node in nodes
        if node.op_type == "Relu" and readers[node.input[0]] == 1
    }


class _Core:
    """Writes the nodes of a core one after the other."""

    def __init__(self, writer: Writer, rectified: dict[str, str]) -> None:
        self._writer = writer
        self._rectified = rectified

    def write(self, node: onnx.NodeProto) -> None:
        """Write one node, or put it off as a formula."""
        self._writer.origin = origin(node)
        if node.op_type in MOVES:
            self._writer.move(node)
        elif node.op_type == "Concat":
            self._writer.join(node)
        elif node.op_type in ("MatMul", "Gemm"):
            self._product(node)
        elif node.op_type == "Relu":
            self._relu(node)
        elif node.op_type == "Neg":
            self._affine(node, node.input[0], -1.0, 0.0)
        elif node.op_type in ("Sqrt", "Reciprocal"):
            self._power(node, node.input[0], 0.5 if node.op_type == "Sqrt" else -1.0)
        elif node.op_type in TABLES:
            self._unary(node)
        elif node.op_type in COMPARISONS:
            self._compared(node)
        elif node.op_type == "Cast":
            self._writer.pending[node.output[0]] = self._writer.pending[node.input[0]]
        else:
            self._binary(node)

    def _product(self, node: onnx.NodeProto) -> None:
        given, constants = attributes(node), self._writer.constants
        if node.input[1] not in constants:
            self._writer.contract(node.input[0], node.input[1], *self._target(node))
            return
        weight = constants[node.input[1]].astype(np.float64) * given.get("alpha", 1.0)
        weight = weight.T if given.get("transB", 0) else weight
        if self._squares(node, weight):
            return
        bias = np.zeros(weight.shape[1])
        if len(node.input) > 2 and node.input[2]:
            bias = bias + constants[node.input[2]].astype(np.float64) * given.get("beta", 1.0)
        output, low = self._target(node)
        self._writer.product(node.input[0], weight, bias, output, low)

    def _squares(self, node: onnx.NodeProto, weight: np.ndarray) -> bool:
        """Put off a sum or mean of squares: the inverse of its root is wanted, most often."""
        square = self._writer.pending.get(node.input[0])
        if not isinstance(square, Square) or len(node.input) > 2 or node.output[0] in self._rectified:
            return False
        if weight.shape[1] != 1 or weight.min() != weight.max() or weight.min() <= 0:
            return False
        sums = Squares(square.of, node.input[0], len(weight), float(weight[0, 0]), 0.0)
        self._writer.pending[node.output[0]] = sums
        return True

    def _power(self, node: onnx.NodeProto, source: str, exponent: float, factor: float = 1.0) -> None:
        """A root or an inverse, also of another one."""
        before = self._writer.pending.get(source)
        if isinstance(before, Power):
            source, factor = before.source, factor * before.factor**exponent
            exponent *= before.exponent
        if exponent in (0.5, -0.5, -1.0):
            self._writer.pending[node.output[0]] = Power(source, exponent, factor)
        else:
            self._composed(node, source, lambda x: factor * x**exponent)

    def _relu(self, node: onnx.NodeProto) -> None:
        source, output = node.input[0], node.output[0]
        if self._writer.known(output):
            return
        formula = self._writer.pending.get(source)
        if not isinstance(formula, Affine):
            formula = Affine(source, np.array(1.0), np.array(0.0))
        self._writer.scale(formula, output, 0)

    def _binary(self, node: onnx.NodeProto) -> None:
        a, b = node.input
        constants = self._writer.constants
        if a in constants or b in constants:
            self._with_constant(node)
        elif self._one_root(a, b):
            self._joined(node)
        elif node.op_type == "Mul":
            self._writer.multiply(a, b, *self._target(node))
        else:
            self._writer.add(a, b, 1 if node.op_type == "Add" else -1, *self._target(node))

    def _compared(self, node: onnx.NodeProto) -> None:
        """Less is not GreaterOrEqual, and a constant on the left turns the comparison."""
        a, b = node.input
        first = a in self._writer.constants
        level = float(self._writer.constants[a if first else b].reshape(()))
        greater, or_equal = node.op_type.startswith("Greater"), node.op_type.endswith("OrEqual")
        falling = greater == first
        threshold = Threshold(b if first else a, level, strict=or_equal == falling, falling=falling)
        self._writer.pending[node.output[0]] = threshold

    def _with_constant(self, node: onnx.NodeProto) -> None:
        a, b = node.input
        constants = self._writer.constants
        first = a in constants
        value, other = constants[a if first else b].astype(np.float64), b if first else a
        match node.op_type:
            case "Add":
                self._affine(node, other, 1.0, value)
            case "Sub":
                self._affine(node, other, *((-1.0, value) if first else (1.0, -value)))
            case "Mul":
                self._affine(node, other, value, 0.0)
            case _ if first and value.item() > 0:
                self._power(node, other, -1.0, value.item())
            case _ if first:
                self._composed(node, other, lambda x: value.reshape(()) / x)
            case _:
                self._affine(node, other, 1 / value, 0.0)

    def _affine(
        self, node: onnx.NodeProto, source: str, factor: np.ndarray | float, offset: np.ndarray | float
    ) -> None:
        factor, offset = np.asarray(factor, np.float64), np.asarray(offset, np.float64)
        before = self._writer.pending.get(source)
        if isinstance(before, Unary) and factor.size == offset.size == 1:
            self._composed(node, source, lambda x: x * factor.reshape(()) + offset.reshape(()))
            return
        if isinstance(before, Squares) and factor.size == offset.size == 1 and factor.item() > 0:
            slope, raised = factor.item(), before.offset * factor.item() + offset.item()
            sums = Squares(before.of, before.squares, before.length, before.factor * slope, raised)
            self._writer.pending[node.output[0]] = sums
            return
        if isinstance(before, Power) and factor.size == 1 and factor.item() > 0 and not np.any(offset):
            scaled = Power(before.source, before.exponent, before.factor * factor.item())
            self._writer.pending[node.output[0]] = scaled
            return
        if isinstance(before, Affine):
            source, offset = before.root, before.offset * factor + offset
            factor = before.factor * factor
        self._writer.pending[node.output[0]] = Affine(source, factor, offset)

    def _unary(self, node: onnx.NodeProto) -> None:
        given = {a.name: _text(onnx.helper.get_attribute_value(a)) for a in node.attribute}
        function = OPERATORS[node.op_type]
        self._composed(node, node.input[0], lambda x: np.asarray(function(x, **given)))

    def _composed(self, node: onnx.NodeProto, source: str, function: Callable) -> None:
        inner = self._writer.function(source)
        self._writer.pending[node.output[0]] = Unary(inner.root, lambda x: function(inner.function(x)))

    def _one_root(self, a: str, b: str) -> bool:
        """Whether both values are functions of one value, so that a table holds what they give together."""
        return self._writer.function(a).root == self._writer.function(b).root

    def _joined(self, node: onnx.NodeProto) -> None:
        a, b = node.input
        first, second = self._writer.function(a), self._writer.function(b)
        operation = OPERATORS[node.op_type]

        def both(x: np.ndarray) -> np.ndarray:
            return np.asarray(operation(first.function(x), second.function(x)))

        square = node.op_type == "Mul" and a == b
        self._writer.pending[node.output[0]] = (
            Square(first.root, both, a) if square else Unary(first.root, both)
        )

    def _target(self, node: onnx.NodeProto) -> tuple[str, int]:
        """Where a rounding stores: its own value, or the ReLU of it with a lower limit of 0."""
        output = node.output[0]
        rectified = self._rectified.get(output)
        return (rectified, 0) if rectified else (output, LOWEST)


def _text(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def _gaps(region: Region, graph: StepGraph) -> list[Gap]:
    constants = initializers(graph.model)
    compared = {node.output[0] for node in region.core if node.op_type in COMPARISONS}
    return [gap(node, why) for node in region.core if (why := _obstacle(node, constants, compared))]


def _obstacle(node: onnx.NodeProto, constants: Mapping[str, np.ndarray], compared: set[str]) -> str:
    """Why a node has no fixed-point form; empty when it has one."""
    kind = node.op_type
    if node.domain not in ("", "ai.onnx"):
        return "a function that is not flattened"
    if kind in ("MatMul", "Gemm"):
        weight = constants.get(node.input[1])
        if weight is None:
            return "" if kind == "MatMul" else "a Gemm of two activations"
        if weight.ndim != 2 or node.input[0] in constants:
            return "a product with a stack of matrices, or with a constant on the left"
        return "its activation is transposed" if attributes(node).get("transA", 0) else ""
    if kind == "Div" and node.input[0] in constants and constants[node.input[0]].size > 1:
        return "a division of a vector of constants"
    if kind in COMPARISONS:
        sizes = [constants[name].size for name in node.input if name in constants]
        return "" if sizes == [1] else "a comparison with something else than one number"
    if kind == "Gather" and (node.input[0] in constants or node.input[1] not in constants):
        return "a choice that depends on an activation"
    if kind == "Cast":
        return "" if node.input[0] in compared else "a change of the dtype"
    known = (*MOVES, *TABLES, *BINARY, "Concat", "Relu", "Neg")
    return "" if kind in known else "fixed point does not define it"
