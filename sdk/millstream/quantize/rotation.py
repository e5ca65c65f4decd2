"""Channels of an activation mixed by a rotation that the weights around it undo, where that helps.

QuaRot (arXiv 2404.00456): x W = (x R) (R^T W) for an orthogonal R. One channel that is larger than the
others sets the step of all; spread over all channels by a Hadamard matrix it hardly does. Here R costs
nothing at run time: it goes into the weights that write an activation and into those that read it. What lies
between must keep its meaning under a rotation: sums, factors that all channels share, and mean squares. These
are what a residual stream around RMSNorms is made of, or a product that follows another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import onnx

from millstream.graph import StepGraph, attributes
from millstream.quantize.calibration import Calibration, samples
from millstream.quantize.formats import Format
from millstream.quantize.hadamard import mixing, remaining
from millstream.quantize.layers import noise_alone
from millstream.quantize.preparing import Gain, Prepared, gain
from millstream.quantize.product import Product, find
from millstream.quantize.smoothing import LEAST_GAIN
from millstream.reparameterize.graph.editing import View, edited, renamed


@dataclass(frozen=True)
class Turned:
    """A constant of a node whose axis counts the channels of a region, by the node's result and the place
    among its operands; `gain` (width,) is multiplied in before, where a node of the region did that."""

    node: str
    place: int
    axis: int
    gain: np.ndarray | None = None


@dataclass(frozen=True)
class Region:
    """Values of `width` channels that turn together, the constants that turn them, and for each product whose
    gain moves into its weight the value that it then reads."""

    width: int
    values: frozenset[str]
    turned: tuple[Turned, ...]
    bypassed: Mapping[str, str]


def rotated(
    graph: StepGraph, format: Format, products: Sequence[Product], calibration: Calibration
) -> Prepared:
    """The flat graph with the regions rotated whose products get less noise by it, each tried alone; the
    graph itself where none does.

    Products keep their results' names, and no output or state turns. The float step is the same but for the
    rounding of its weights to float32.
    """
    found = regions(graph, format, products)
    if not found:
        return Prepared(graph)
    read = {p.activation for p in products} | {name for region in found for name in region.values}
    seen = samples(graph, sorted(read), calibration)
    uneven = [region for region in found if _is_uneven(region, products, seen)]
    tried = [(region, _tried(graph, region, format, products, calibration)) for region in uneven]
    kept = [(region, each) for region, each in tried if each.after < (1 - LEAST_GAIN) * each.before]
    if not kept:
        return Prepared(graph)
    return Prepared(turned(graph, [region for region, _ in kept]), tuple(each for _, each in kept))


def regions(graph: StepGraph, format: Format, products: Sequence[Product]) -> list[Region]:
    """The regions of all matrix products whose activation the format rounds."""
    view, found = View(graph), list[Region]()
    for product in products:
        way = format.of(product)
        if way is None or not way.rounds or product.is_convolution:
            continue
        start = _before_gains(view, product.activation)
        if not any(start in region.values for region in found):
            region = _Following(view, start).region()
            found += [region] if region else []
    return found


def turned(graph: StepGraph, some: Sequence[Region]) -> StepGraph:
    """The graph with these regions rotated."""
    view = View(graph)
    held: dict[tuple[str, int], np.ndarray] = {}
    for region in some:
        rotation = mixing(region.width)
        for each in region.turned:
            key = each.node, each.place
            if key not in held:
                held[key] = view.constants[view.writers[each.node].input[each.place]].astype(np.float64)
            held[key] = _along(held[key], each, rotation)
    bypassed = dict(chain.from_iterable(region.bypassed.items() for region in some))
    added, nodes = dict[str, np.ndarray](), list[onnx.NodeProto]()
    for node in view.nodes:
        output = node.output[0]
        copy = renamed(node, {})
        if output in bypassed:
            copy.input[0] = bypassed[output]
        for place, name in enumerate(node.input):
            if (output, place) in held:
                copy.input[place] = f"{name}.turned.for.{output}"
                added[copy.input[place]] = held[output, place].astype(np.float32)
        nodes.append(copy)
    return edited(graph, nodes, added)


def _is_uneven(region: Region, products: Sequence[Product], seen: Mapping[str, np.ndarray]) -> bool:
    """Whether some activation of the region has larger values than it would have when rotated; else there is
    nothing to gain, and no need to look at the noise."""
    rotation = mixing(region.width).astype(np.float32)
    pairs = [(p.activation, region.bypassed.get(p.output, p.activation)) for p in products]
    return any(
        remaining(seen[before], seen[after] @ rotation) < 1 - LEAST_GAIN
        for before, after in pairs
        if after in region.values
    )


def _tried(
    graph: StepGraph,
    region: Region,
    format: Format,
    products: Sequence[Product],
    calibration: Calibration,
) -> Gain:
    """The noise of the products around a region as it is, and rotated."""
    touched = {each.node for each in region.turned}
    around = [product for product in products if product.output in touched]
    trial = turned(graph, [region])
    again = [product for product in find(trial)[0] if product.output in {p.output for p in around}]
    before, after = (
        sum(noise_alone(some, format, own, calibration).values())
        for some, own in ((graph, around), (trial, again))
    )
    return gain("rotated", around, before, after)


def _along(array: np.ndarray, each: Turned, rotation: np.ndarray) -> np.ndarray:
    """The constant with one axis rotated."""
    last = np.moveaxis(array, each.axis, -1)
    scaled = last if each.gain is None else last * each.gain
    return np.moveaxis(scaled @ rotation, -1, each.axis)


def _before_gains(view: View, name: str) -> str:
    """The value that is multiplied by constants channel by channel to give this one."""
    while (node := view.writers.get(name)) is not None and node.op_type == "Mul":
        constant = [place for place, each in enumerate(node.input) if _is_vector(view, each)]
        if len(constant) != 1:
            break
        name = node.input[1 - constant[0]]
    return name


def _is_vector(view: View, name: str) -> bool:
    array = view.constant(name)
    return array is not None and array.ndim == 1 and array.size > 1


class _Following:
    """Follows a rotation from one value to all values that must turn with it, up to the constants."""

    def __init__(self, view: View, start: str) -> None:
        self._view = view
        self._start = start
        self._width = (view.shapes.get(start) or (None,))[-1]
        self._waiting = [start]
        self._turned: dict[tuple[str, int], Turned] = {}
        self._bypassed: dict[str, str] = {}

    def region(self) -> Region | None:
        """All that turns together; None where something on the way would change its meaning."""
        if self._width is None or self._width < 2:
            return None
        values = set[str]()
        while self._waiting:
            name = self._waiting.pop()
            if name in values:
                continue
            values.add(name)
            readers = self._view.readers.get(name, ())
            if name in self._view.outputs or not self._written(name):
                return None
            if not all(self._read(node, name) for node in readers):
                return None
        return Region(self._width, frozenset(values), tuple(self._turned.values()), self._bypassed)

    def _written(self, name: str) -> bool:
        """Whether what computes the value can compute it rotated."""
        node = self._view.writers.get(name)
        if node is None:
            return False
        match node.op_type:
            case "MatMul" | "Gemm":
                return self._product(node, 1) and all(self._operand(node, 2) for _ in node.input[2:3])
            case "Gather":
                return attributes(node).get("axis", 0) == 0 and self._turn(node, 0, 1)
            case "Add" | "Sub":
                return self._operand(node, 0) and self._operand(node, 1)
            case "Identity" | "Neg":
                return self._operand(node, 0)
            case "Mul" if self._narrow(node.input[0]):
                return self._operand(node, 1)
            case "Mul" | "Div" if self._narrow(node.input[1]):
                return self._operand(node, 0)
            case _:
                return False

    def _read(self, node: onnx.NodeProto, name: str) -> bool:
        """Whether a reader can make good for the rotation, or gives a value that is rotated too."""
        others = [each for each in node.input if each != name]
        match node.op_type:
            case "MatMul" | "Gemm" if name == node.input[0]:
                return name not in node.input[1:] and self._product(node, 0)
            case "Mul" if not others:
                return self._squares(node)
            case "Pow":
                power = self._view.constant(node.input[1])
                return power is not None and bool((power == 2).all()) and self._squares(node)
            case "Mul" if _is_vector(self._view, others[0]):
                return self._gain(node, name, self._view.constants[others[0]].astype(np.float64))
            case "ReduceL2" | "ReduceSumSquare":
                return self._over_channels(node)
            case "Gemm" | "Add" | "Sub" | "Identity" | "Neg" | "Mul" | "Div":
                self._waiting.append(node.output[0])
                return True
            case _:
                return False

    def _operand(self, node: onnx.NodeProto, place: int) -> bool:
        """An operand that turns as the result does."""
        name = node.input[place]
        if not name:
            return True
        if (self._view.shapes.get(name) or (None,))[-1] != self._width:
            return False
        array = self._view.constant(name)
        if array is not None:
            return self._turn(node, place, array.ndim - 1)
        self._waiting.append(name)
        return True

    def _product(self, node: onnx.NodeProto, side: int, gain: np.ndarray | None = None) -> bool:
        """Turn the inputs (0) or the outputs (1) of a product's weight."""
        given = attributes(node)
        plain = given.get("alpha", 1.0) == 1 and given.get("beta", 1.0) == 1 and not given.get("transA", 0)
        axis = 1 - side if given.get("transB", 0) else side
        return plain and self._turn(node, 1, axis, gain)

    def _turn(self, node: onnx.NodeProto, place: int, axis: int, gain: np.ndarray | None = None) -> bool:
        """Turn a constant of the node along an axis. One that others read too would be held twice."""
        name = node.input[place]
        array, shared = self._view.constant(name), len(self._view.readers[name]) > 1
        if array is None or array.dtype != np.float32 or array.ndim > 2 or (shared and array.ndim == 2):
            return False
        if array.shape[axis] != self._width:
            return False
        self._turned[node.output[0], 2 * place + axis] = Turned(node.output[0], place, axis, gain)
        return True

    def _gain(self, node: onnx.NodeProto, name: str, gain: np.ndarray) -> bool:
        """Move a factor of each channel into the weights of products, where nothing else reads the result."""
        output = node.output[0]
        if output in self._view.outputs or len(gain) != self._width:
            return False
        return all(self._behind_gain(reader, output, name, gain) for reader in self._view.readers[output])

    def _behind_gain(self, node: onnx.NodeProto, value: str, name: str, gain: np.ndarray) -> bool:
        others = [each for each in node.input if each != value]
        if node.op_type == "Mul" and len(others) == 1 and _is_vector(self._view, others[0]):
            return self._gain(node, name, gain * self._view.constants[others[0]])
        if node.op_type not in ("MatMul", "Gemm") or value != node.input[0] or value in node.input[1:]:
            return False
        self._bypassed[node.output[0]] = name
        return self._product(node, 0, gain)

    def _squares(self, node: onnx.NodeProto) -> bool:
        """Squares of which only the sum over all channels is read."""
        output = node.output[0]
        readers = self._view.readers.get(output, ())
        return output not in self._view.outputs and all(
            reader.op_type in ("ReduceMean", "ReduceSum") and self._over_channels(reader)
            for reader in readers
        )

    def _over_channels(self, node: onnx.NodeProto) -> bool:
        """Whether a reduction runs over the last axis and no other."""
        rank = len(self._view.shapes[node.input[0]])
        axes = self._view.constant(node.input[1]) if len(node.input) > 1 else None
        return axes is not None and [int(axis) % rank for axis in axes] == [rank - 1]

    def _narrow(self, name: str) -> bool:
        """Whether all channels share the value."""
        shape = self._view.shapes.get(name)
        return shape is not None and (not shape or shape[-1] == 1)
