"""What quantization does to each layer: ranges, steps, saturation and noise, and which layer is to blame.

Every product is looked at twice over the example. Alone: it takes the float activation of the tick, so that
the noise is its own. Together: in the quantized step, with all that the layers before and the states bring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from millstream.graph import StepGraph, build, initializers, origin
from millstream.quantize.activations import RoundedActivation
from millstream.quantize.calibration import Calibration, halves, observed, stream
from millstream.quantize.error import Gap
from millstream.quantize.formats import Format
from millstream.quantize.mixed import mixed
from millstream.quantize.product import Product
from millstream.quantize.rounding import Rounded

_ALONE = ".alone"


@dataclass(frozen=True)
class Rounding:
    """A tensor that is rounded: its float range, the smallest and the largest step of its integers (0: it
    stays in float), the part of its values beyond the largest integer, and signal to noise in decibels (None
    where nothing differs)."""

    low: float
    high: float
    steps: tuple[float, float]
    saturated: float
    decibels: float | None


@dataclass(frozen=True)
class Layer:
    """One product, in the order of the step: its module, or its weight where that is not known, its operator,
    the name of its result and the range of it.

    `alone` and `together` are signal to noise of the result in decibels.
    """

    origin: str
    operator: str
    result: str
    low: float
    high: float
    weight: Rounding
    activation: Rounding
    alone: float | None
    together: float | None


def layers(
    original: StepGraph,
    quantized: StepGraph,
    format: Format,
    products: Sequence[Product],
    calibration: Calibration,
) -> tuple[Layer, ...]:
    """Look at these products of a flat float graph and of the graph that a format made of it."""
    beside, twins = _beside(original, format, products, calibration)
    constants, floats = initializers(beside.model), initializers(original.model)
    rounded = format.weights(original, products, calibration)
    results = [product.output for product in products]
    seen = [_Seen() for _ in products]
    inner = [*results, *(t.output for t in twins), *(p.activation for p in products)]
    both = (
        stream(observed(beside, list(dict.fromkeys(inner))), calibration),
        stream(observed(quantized, results), calibration),
    )
    for exact, whole in zip(*both, strict=True):
        for product, twin, found in zip(products, twins, seen, strict=True):
            result, x = exact[product.output], exact[product.activation]
            found.result.add(result, exact[twin.output])
            found.together.add(result, whole[product.output])
            made = format.activations(constants, product, x)
            found.activation.add(x, made.values)
            found.met(made)
    return tuple(
        _layer(
            product, found, _weight(product, floats[product.weight], rounded(product, floats[product.weight]))
        )
        for product, found in zip(products, seen, strict=True)
    )


def noise_alone(
    original: StepGraph, format: Format, products: Sequence[Product], calibration: Calibration
) -> dict[str, float]:
    """The relative RMS by which the format moves each result when it takes the float activation, by name.

    Ranges are taken from one half of the example and the noise from the other: what just holds all that was
    seen looks better there than it is.
    """
    ranged, judged = halves(calibration)
    beside, twins = _beside(original, format, products, ranged)
    results, gap = [product.output for product in products], Gap()
    for values in stream(observed(beside, [*results, *(t.output for t in twins)]), judged):
        for result, twin in zip(results, twins, strict=True):
            gap.add(result, values[twin.output], values[result])
    return gap.relative()


def to_blame(found: Sequence[Layer], most: float) -> str:
    """The result of the first layer, in the order of the step, that is off by more than `most` (relative
    RMS) in the quantized step; empty when there is none."""
    least = -20 * math.log10(most)
    return next((each.result for each in found if each.together is not None and each.together < least), "")


class _Signal:
    """A tensor and its noise, gathered tick by tick."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self.values = 0
        self._signal = self._noise = 0.0

    def add(self, want: np.ndarray, got: np.ndarray) -> None:
        wide = want.astype(np.float64)
        self.low, self.high = min(self.low, float(want.min())), max(self.high, float(want.max()))
        self.values += want.size
        self._signal += float(np.square(wide).sum())
        self._noise += float(np.square(got - wide).sum())

    @property
    def decibels(self) -> float | None:
        """Of signal to noise; None where nothing differs."""
        if not self._noise:
            return None
        return 10 * math.log10(max(self._signal, np.finfo(np.float64).tiny) / self._noise)


class _Seen:
    """What is gathered of one product."""

    def __init__(self) -> None:
        self.result, self.together, self.activation = _Signal(), _Signal(), _Signal()
        self.steps = (math.inf, 0.0)
        self.saturated = 0

    def met(self, made: RoundedActivation) -> None:
        """One tick's activation."""
        (low, high), (least, most) = made.steps, self.steps
        self.steps = (min(low, least), max(high, most))
        self.saturated += made.saturated


def _beside(
    graph: StepGraph, format: Format, products: Sequence[Product], calibration: Calibration
) -> tuple[StepGraph, list[Product]]:
    """The float graph with a quantized twin beside each product, whose result nothing reads."""
    twins = [_twin(product) for product in products]
    ways = {t.output: way for p, t in zip(products, twins, strict=True) if (way := format.of(p))}
    return mixed(ways).rewrite(_with_twins(graph, products, twins), twins, calibration), twins


def _twin(product: Product) -> Product:
    """The product once more, with a result of its own."""
    node = onnx.NodeProto()
    node.CopyFrom(product.node)
    node.name += _ALONE
    node.output[:] = [product.output + _ALONE]
    return replace(product, node=node)


def _with_twins(graph: StepGraph, products: Sequence[Product], twins: Sequence[Product]) -> StepGraph:
    """The graph with each product beside its twin."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    beside = {product.output: twin.node for product, twin in zip(products, twins, strict=True)}
    nodes = [
        each
        for node in graph.model.graph.node
        for each in (node, *filter(None, (beside.get(node.output[0]),)))
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return build(model, graph.states)


def _weight(product: Product, exact: np.ndarray, rounded: Rounded) -> Rounding:
    step = rounded.steps(product.channel)
    signal = _Signal()
    signal.add(exact, rounded.values * step)
    most = np.abs(rounded.values).max(initial=1)
    beyond = float((np.abs(exact) > (most + 0.5) * step).mean())
    return Rounding(signal.low, signal.high, (float(step.min()), float(step.max())), beyond, signal.decibels)


def _layer(product: Product, found: _Seen, weight: Rounding) -> Layer:
    activation = found.activation
    return Layer(
        origin=origin(product.node) or product.weight,
        operator=product.node.op_type,
        result=product.output,
        low=found.result.low,
        high=found.result.high,
        weight=weight,
        activation=Rounding(
            activation.low,
            activation.high,
            found.steps,
            found.saturated / max(activation.values, 1),
            activation.decibels,
        ),
        alone=found.result.decibels,
        together=found.together.decibels,
    )
