"""A format that quantizes each product in its own way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from millstream.graph import StepGraph
from millstream.quantize.activations import RoundedActivation, unrounded
from millstream.quantize.calibration import Calibration
from millstream.quantize.formats import FORMATS, Format
from millstream.quantize.product import Product
from millstream.quantize.rewriting import Rounding


def mixed(choices: Mapping[str, Format]) -> Format:
    """The format that takes the products whose output is in `choices`, each in its own.

    Its error may be as large as the largest that one of its formats may have, and so may its bits. What one
    of them does not serve gets float activations.
    """

    def of(product: Product) -> Format | None:
        choice = choices.get(product.output)
        return choice and choice.of(product)

    def shared(some: Sequence[Product]) -> Iterator[tuple[Format, list[Product]]]:
        ways = {product.output: way for product in some if (way := of(product))}
        for format in {way.name: way for way in ways.values()}.values():
            yield format, [p for p in some if p.output in ways and ways[p.output].name == format.name]

    def weights(graph: StepGraph, some: Sequence[Product], calibration: Calibration) -> Rounding:
        roundings: dict[str, Rounding] = {}
        for format, own in shared(some):
            rounding = format.weights(graph, own, calibration)
            roundings.update((product.output, rounding) for product in own)
        return lambda product, weight: roundings[product.output](product, weight)

    def write(
        graph: StepGraph, some: Sequence[Product], calibration: Calibration, rounding: Rounding
    ) -> StepGraph:
        for format, own in shared(some):
            graph = format.write(graph, own, calibration, rounding)
        return graph

    def activations(
        constants: Mapping[str, np.ndarray], product: Product, x: np.ndarray
    ) -> RoundedActivation:
        way = of(product)
        return (way.activations if way else unrounded)(constants, product, x)

    names = sorted({choice.name for choice in choices.values()})
    return Format(
        name="+".join(names) or "float",
        summary="each product in the format that a search chose for it",
        weights=weights,
        write=write,
        activations=activations,
        max_error=max((choice.max_error for choice in choices.values()), default=0.0),
        bits=max((choice.bits for choice in choices.values()), default=32),
        choices=choices,
        wider=(FORMATS["w8"], FORMATS["w16"]),
    )
