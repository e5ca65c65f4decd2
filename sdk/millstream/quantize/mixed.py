"""A format that quantizes each product in its own way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from millstream.graph import StepGraph
from millstream.quantize.activations import RoundedActivation
from millstream.quantize.calibration import Calibration
from millstream.quantize.formats import Format
from millstream.quantize.product import Product
from millstream.quantize.rewriting import Rounding


def mixed(choices: Mapping[str, Format]) -> Format:
    """The format that takes the products whose output is in `choices`, each in its own.

    Its error may be as large as the largest that one of its formats may have, and so may its bits.
    """

    formats = {choice.name: choice for choice in choices.values()}

    def shared(some: Sequence[Product]) -> Iterator[tuple[Format, list[Product]]]:
        for format in formats.values():
            own = [p for p in some if p.output in choices and choices[p.output].name == format.name]
            if own:
                yield format, own

    def weights(graph: StepGraph, some: Sequence[Product], calibration: Calibration) -> Rounding:
        roundings = {f.name: f.weights(graph, own, calibration) for f, own in shared(some)}
        return lambda product, weight: roundings[choices[product.output].name](product, weight)

    def write(
        graph: StepGraph, some: Sequence[Product], calibration: Calibration, rounding: Rounding
    ) -> StepGraph:
        for format, own in shared(some):
            graph = format.write(graph, own, calibration, rounding)
        return graph

    def activations(
        constants: Mapping[str, np.ndarray], product: Product, x: np.ndarray
    ) -> RoundedActivation:
        return choices[product.output].activations(constants, product, x)

    names = sorted(formats)
    return Format(
        name="+".join(names) or "float",
        summary="each product in the format that a search chose for it",
        weights=weights,
        write=write,
        activations=activations,
        max_error=max((choice.max_error for choice in choices.values()), default=0.0),
        bits=max((choice.bits for choice in choices.values()), default=32),
        choices=choices,
    )
