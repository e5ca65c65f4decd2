"""Large channels of an activation made smaller, and the weights that read them larger, where that helps.

SmoothQuant (arXiv 2211.10438): x W = (x / s) (s W). Rounding has one step for all channels of an activation
but one for each output of a weight, so a channel that is larger than the others is better kept in the
weight. With s_j = max |x_j|^a / max |W_j|^(1 - a), a = 1/2 shares the burden; a = 1 makes all channels of the
activation alike, as RepQuant (arXiv 2402.05628) does behind a LayerNorm. Here s are powers of two, so that
the float step computes the same numbers to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.graph import StepGraph, build, initializers, set_origin
from millstream.quantize.calibration import Calibration, halves, samples
from millstream.quantize.formats import Format
from millstream.quantize.layers import noise_alone
from millstream.quantize.preparing import Gain, Prepared, gain
from millstream.quantize.product import Product, find
from millstream.quantize.reweighing import reweighable

#: By its name, the part of a large channel's burden that the weights take.
_POWERS = {"smoothed, half": 0.5, "smoothed, whole": 1.0}
#: The part of its noise that smoothing must take from the products of an activation.
LEAST_GAIN = 0.2
#: By the name of an activation, what its channels (n,) are divided by.
Scales = Mapping[str, np.ndarray]


def smoothed(
    graph: StepGraph, format: Format, products: Sequence[Product], calibration: Calibration
) -> Prepared:
    """The flat graph with the activations smoothed whose products get less noise by it, each tried alone with
    each of two strengths; the graph itself where none does.

    Products keep their results' names. Only matrix products are tried whose activations the format rounds and
    whose weights nothing else reads.
    """
    shared = reweighable(graph, format, products)
    if not shared:
        return Prepared(graph)
    constants = initializers(graph.model)

    def scales(powers: Mapping[str, float], example: Calibration) -> Scales:
        seen = samples(graph, sorted(powers), example)
        return {name: _scales(seen[name], shared[name], constants, power) for name, power in powers.items()}

    tried = [p for own in shared.values() for p in own]
    noise = _noise(noise_alone(graph, format, tried, calibration), shared)
    best: dict[str, float] = {}
    gains: dict[str, Gain] = {}
    least = {name: (1 - LEAST_GAIN) * value for name, value in noise.items()}
    ranged, _ = halves(calibration)
    for method, power in _POWERS.items():
        trial = divided(graph, scales(dict.fromkeys(shared, power), ranged), products)
        again = [p for p in find(trial)[0] if p.output in {q.output for q in tried}]
        for name, value in _noise(noise_alone(trial, format, again, calibration), shared).items():
            if value < least[name]:
                least[name], best[name] = value, power
                gains[name] = gain(method, shared[name], noise[name], value)
    if not best:
        return Prepared(graph)
    return Prepared(divided(graph, scales(best, calibration), products), tuple(gains.values()))


def divided(graph: StepGraph, scales: Scales, products: Sequence[Product]) -> StepGraph:
    """The graph with these activations divided channel by channel by powers of two, and the weights of their
    products multiplied.

    The division goes into what computes the activation where nothing else reads it; else it is a node.
    """
    return _Dividing(graph, scales, products).run()


def _scales(
    x: np.ndarray, products: Sequence[Product], constants: Mapping[str, np.ndarray], power: float
) -> np.ndarray:
    """A power of two for each channel; 1 where the channel or its weights are always 0."""
    channels = np.abs(x.reshape(-1, x.shape[-1])).max(0).astype(np.float64)
    weights = np.max([np.abs(_by_input(p, constants[p.weight])).max(1) for p in products], axis=0)
    live = (channels > 0) & (weights > 0)
    wanted = np.where(live, channels, 1) ** power / np.where(live, weights, 1) ** (1 - power)
    middle = np.median(wanted[live]) if live.any() else 1.0
    return np.where(live, np.exp2(np.rint(np.log2(wanted / middle))), 1).astype(np.float32)


def _by_input(product: Product, weight: np.ndarray) -> np.ndarray:
    """The weight with its inputs along the first axis."""
    return weight if product.channel else weight.T


def _noise(noise: Mapping[str, float], shared: Mapping[str, Sequence[Product]]) -> dict[str, float]:
    """Of all products of each activation together."""
    return {name: sum(noise[product.output] for product in own) for name, own in shared.items()}


class _Dividing:
    """One rewriting of a graph: its nodes, and constants that are added."""

    def __init__(self, graph: StepGraph, scales: Scales, products: Sequence[Product]) -> None:
        self._graph = graph
        self._scales = scales
        self._products = [product for product in products if product.activation in scales]
        self._model = onnx.ModelProto()
        self._model.CopyFrom(graph.model)
        self._constants = dict(initializers(graph.model))
        self._nodes = list(self._model.graph.node)
        self._added: dict[str, np.ndarray] = {}

    def run(self) -> StepGraph:
        for product in self._products:
            spread = self._scales[product.activation]
            weight = self._constants[product.weight]
            held = weight * (spread[:, None] if product.channel else spread)
            self._replace(self._node_of(product.output), 1, held)
        for name, scale in self._scales.items():
            if not self._absorbed(name, 1 / scale):
                self._divide(name, 1 / scale)
        held = (onnx.numpy_helper.from_array(array, name) for name, array in self._added.items())
        read = {name for node in self._nodes for name in node.input}
        kept = [item for item in self._model.graph.initializer if item.name in read]
        del self._model.graph.node[:], self._model.graph.initializer[:]
        self._model.graph.node.extend(self._nodes)
        self._model.graph.initializer.extend([*kept, *held])
        return build(self._model, self._graph.states)

    def _node_of(self, output: str) -> onnx.NodeProto:
        return next(node for node in self._nodes if node.output[0] == output)

    def _readers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self._nodes if name in node.input]

    def _replace(self, node: onnx.NodeProto, place: int, array: np.ndarray) -> None:
        """Give the node a constant of its own."""
        name = f"{node.input[place]}.for.{node.output[0]}"
        self._added[name] = self._constants[name] = array.astype(np.float32)
        node.input[place] = name

    def _absorbed(self, name: str, factor: np.ndarray) -> bool:
        """Whether what computes the value could take the factor of its channels."""
        changes = self._changes(
            name, factor, sorted(p.output for p in self._products if p.activation == name)
        )
        if changes is None:
            return False
        for change in changes:
            change()
        return True

    def _changes(
        self, name: str, factor: np.ndarray, readers: Iterable[str]
    ) -> list[Callable[[], None]] | None:
        """What is to be changed so that a value is multiplied by the factor; None where that cannot be done,
        or where anything but the nodes with these results reads the value."""
        made = [node for node in self._nodes if name in node.output]
        told = {value.name for value in self._model.graph.output}
        alone = sorted(node.output[0] for node in self._readers(name)) == list(readers)
        if not made or name in told or not alone:
            return None
        node = made[0]
        if node.op_type == "Relu":
            return self._changes(node.input[0], factor, [node.output[0]])
        places = {"MatMul": (1,), "Gemm": (1, 2), "LayerNormalization": (1, 2)}.get(node.op_type, ())
        places = tuple(place for place in places if place < len(node.input) and node.input[place])
        if not places or any(node.input[place] not in self._constants for place in places):
            return None
        arrays = {place: self._constants[node.input[place]] for place in places}
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        spread = {p: factor[:, None] if turned and p == 1 else factor for p in places}
        if any(a.shape[0 if turned and p == 1 else -1] != len(factor) for p, a in arrays.items()):
            return None
        return [
            lambda place=place: self._replace(node, place, arrays[place] * spread[place]) for place in places
        ]

    def _divide(self, name: str, factor: np.ndarray) -> None:
        """Multiply the value by the factor in a node before the first product that reads it."""
        readers = [self._node_of(product.output) for product in self._products if product.activation == name]
        result, held = f"{name}.smooth", f"{name}.factor"
        self._added[held] = factor.astype(np.float32)
        node = onnx.helper.make_node("Mul", [name, held], [result], name=f"{result} node")
        set_origin(node, "")
        self._nodes.insert(min(self._nodes.index(reader) for reader in readers), node)
        for reader in readers:
            reader.input[0] = result
