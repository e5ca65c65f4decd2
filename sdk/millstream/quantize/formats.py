"""The ways to quantize, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from millstream.errors import UnknownFormat
from millstream.graph import StepGraph
from millstream.quantize.activations import Activations, unrounded
from millstream.quantize.calibration import Calibration
from millstream.quantize.dynamic import quantize_dynamically, rounded_dynamically
from millstream.quantize.feedback import second_moments, to_int4_with_feedback
from millstream.quantize.fixed_point import fixed16, fixed16_w8
from millstream.quantize.grouped import groups_of, quantize_in_groups
from millstream.quantize.product import Product
from millstream.quantize.rewriting import Rounding
from millstream.quantize.rounding import Rounded, to_int4, to_int8, to_int16, to_ternary
from millstream.quantize.static import quantize_statically, rounded_statically
from millstream.quantize.weight_only import quantize_weights

#: Takes a flat, folded graph and the products to quantize.
Rewrite = Callable[[StepGraph, Sequence[Product], Calibration], StepGraph]
#: How the weights of these products are rounded.
Weights = Callable[[StepGraph, Sequence[Product], Calibration], Rounding]
#: Writes the products of a graph with weights rounded so.
Write = Callable[[StepGraph, Sequence[Product], Calibration, Rounding], StepGraph]


@dataclass(frozen=True)
class Format:
    """A way to quantize: `weights` rounds them, `write` says the products with them, `activations` tells what
    that makes of an activation. A weight takes `bits`.

    `max_error` is the largest relative RMS error, of any output or state against float, that an export
    accepts. A product that alone moves an output by more than `most_alone` (0: by more than that) gets the
    first of the `wider` formats that serves, and so does one that lets a state drift. Small products and
    tables get the format `otherwise`, None being this one: the first are not worth integer sums, and the
    noise of a table's row is averaged by no sum. With `choices`, by the output of a product, each has a
    format of its own, and those without one stay in float. A format of the `whole` step chooses no products:
    it rewrites every node, or refuses. One that `restores` is for weights that have its values already:
    others are refused by their error, not given another format.
    """

    name: str
    summary: str
    weights: Weights
    write: Write
    max_error: float
    bits: float
    activations: Activations = unrounded
    otherwise: Format | None = None
    wider: tuple[Format, ...] = ()
    most_alone: float = 0
    choices: Mapping[str, Format] | None = None
    whole: bool = False
    restores: bool = False

    def of(self, product: Product) -> Format | None:
        """The format of one product; None when it stays in float."""
        if self.choices is not None:
            chosen = self.choices.get(product.output)
            return chosen and chosen.of(product)
        return self.otherwise if self.otherwise and (product.small or product.is_lookup) else self

    @property
    def rounds(self) -> bool:
        """Whether it may round activations."""
        return self.activations is not unrounded

    def rewrite(self, graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> StepGraph:
        """The flat graph with these products quantized."""
        return self.write(graph, products, calibration, self.weights(graph, products, calibration))


def rounded_once(
    format: Format, graph: StepGraph, products: Sequence[Product], calibration: Calibration
) -> Format:
    """The format for a search over these products of a float graph: each weight is rounded once, however
    often it is written."""
    own = [product for product in products if format.of(product) is format]
    rounding = format.weights(graph, own, calibration)
    known: dict[tuple[str, int], Rounded] = {}

    def once(product: Product, weight: np.ndarray) -> Rounded:
        key = (product.weight, product.channel)
        if key not in known:
            known[key] = rounding(product, weight)
        return known[key]

    otherwise = format.otherwise and rounded_once(format.otherwise, graph, products, calibration)
    return replace(format, weights=lambda graph, products, calibration: once, otherwise=otherwise)


def format_named(name: str) -> Format:
    """The format of that name. Raises UnknownFormat naming those that exist."""
    if name not in FORMATS:
        raise UnknownFormat(f"no format is called {name!r}", fix="use one of " + ", ".join(FORMATS))
    return FORMATS[name]


def _alone(to_integers: Callable[[np.ndarray, int], Rounded]) -> Weights:
    """Every weight rounded for itself."""
    return lambda graph, products, calibration: lambda product, weight: to_integers(weight, product.channel)


def _with_feedback(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> Rounding:
    """int4 that makes good for its errors, where the product is that of a matrix."""
    return _fed_back(graph, products, calibration, lambda inputs: 1)


def _in_groups(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> Rounding:
    """The same with a scale for each group of inputs."""
    return _fed_back(graph, products, calibration, groups_of)


def _fed_back(
    graph: StepGraph,
    products: Sequence[Product],
    calibration: Calibration,
    groups_of: Callable[[int], int],
) -> Rounding:
    matrices = [product for product in products if not product.is_convolution]
    names = sorted({product.activation for product in matrices})
    moments = second_moments(graph, names, calibration) if names else {}

    def rounding(product: Product, weight: np.ndarray) -> Rounded:
        if product.is_convolution:
            return to_int4(weight, product.channel)
        groups = groups_of(weight.shape[1 - product.channel])
        return to_int4_with_feedback(weight, product.channel, moments[product.activation], groups)

    return rounding


def _whole(rewrite: Rewrite) -> Write:
    """A rewrite of the whole step, which rounds weights in its own way."""
    return lambda graph, products, calibration, rounding: rewrite(graph, products, calibration)


_W16 = Format("w16", "weights in int16, sums in float", _alone(to_int16), quantize_weights, 0.01, 16)
_W8 = Format(
    *("w8", "weights in int8, sums in float"),
    *(_alone(to_int8), quantize_weights, 0.02, 8),
    wider=(_W16,),
)
_FLOAT_ACTIVATIONS = (_W8, _W16)
_W8A8 = Format(
    *("w8a8", "weights and activations in int8, scaled at every step"),
    *(_alone(to_int8), quantize_dynamically, 0.05, 8, rounded_dynamically),
    otherwise=_W8,
    wider=_FLOAT_ACTIVATIONS,
)
#: What 4 bits cost depends on the model; a model that was not trained for ternary weights loses everything.
_ALL = (
    _W8,
    _W16,
    Format(
        *("w4", "weights in int4, sums in float"),
        *(_with_feedback, quantize_weights, 0.25, 4),
        otherwise=_W8,
        wider=_FLOAT_ACTIVATIONS,
    ),
    Format(
        *("w4-groups", "weights in int4 with scales for groups of inputs, sums in float"),
        *(_in_groups, quantize_in_groups, 0.25, 4.25),
        otherwise=_W8,
        wider=_FLOAT_ACTIVATIONS,
    ),
    _W8A8,
    Format(
        *("w8a8-static", "weights and activations in int8, scales from the example"),
        *(_alone(to_int8), quantize_statically, 0.1, 8, rounded_statically),
        otherwise=_W8,
        wider=(_W8A8, *_FLOAT_ACTIVATIONS),
        most_alone=_W8A8.max_error,
    ),
    Format(
        *("w4a8", "weights in int4, activations in int8, scaled at every step"),
        *(_with_feedback, quantize_dynamically, 0.25, 4, rounded_dynamically),
        otherwise=_W8,
        wider=_FLOAT_ACTIVATIONS,
    ),
    Format(
        *("fixed16", "the whole step on integers of 16 bits, for FPGA"),
        *(_alone(to_int8), _whole(fixed16), 0.02, 16),
        whole=True,
    ),
    Format(
        *("fixed16-w8", "the same, weights in int8 where no state drifts"),
        *(_alone(to_int8), _whole(fixed16_w8), 0.05, 8),
        whole=True,
    ),
    Format(
        *("ternary", "weights -1, 0, 1 (trained so), activations in int8"),
        *(_alone(to_ternary), quantize_dynamically, 0.05, 2, rounded_dynamically),
        otherwise=_W8,
        wider=_FLOAT_ACTIVATIONS,
        restores=True,
    ),
)
FORMATS: Mapping[str, Format] = {each.name: each for each in _ALL}
