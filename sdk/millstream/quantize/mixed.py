"""A format that quantizes each product in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration
from millstream.quantize.formats import Format
from millstream.quantize.product import Product


def mixed(choices: Mapping[str, Format], products: Sequence[Product]) -> Format:
    """The format that takes, of these products, those whose output is in `choices`, each in its format.

    Its error may be as large as the largest that one of its formats may have, and so may its bits.
    """

    def rewrite(graph: StepGraph, some: Sequence[Product], calibration: Calibration) -> StepGraph:
        for format in {choice.name: choice for choice in choices.values()}.values():
            own = [p for p in some if p.output in choices and choices[p.output].name == format.name]
            if own:
                graph = format.rewrite(graph, own, calibration)
        return graph

    names = sorted({choice.name for choice in choices.values()})
    return Format(
        name="+".join(names) or "float",
        summary="each product in the format that a search chose for it",
        rewrite=rewrite,
        max_error=max((choice.max_error for choice in choices.values()), default=0.0),
        bits=max((choice.bits for choice in choices.values()), default=32),
        left=frozenset(product.output for product in products if product.output not in choices),
    )
