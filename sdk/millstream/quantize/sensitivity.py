"""Which products are too sensitive for a format: those whose rounding alone moves an output beyond its bound.

What follows a product may make far more of its noise than a sum does. The energy of a quiet band is a
millionth of a loud one's, and its logarithm counts as much: activations in int8 lose it, and int4 that makes
good for errors may turn it negative. It is measured, not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence

from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration
from millstream.quantize.error import relative_errors
from millstream.quantize.formats import Format
from millstream.quantize.product import Product

#: Ticks for which each product is tried alone.
BRIEF = 128


def sensitive(
    graph: StepGraph, products: Sequence[Product], format: Format, calibration: Calibration, most: float
) -> dict[str, str]:
    """The products that alone move an output by more than `most` (relative RMS), by their result, and why.

    They are looked for only where all products together do.
    """
    rounding = format.weights(graph, products, calibration)
    short = _beginning(calibration)
    names = [tensor.name for tensor in graph.outputs]

    def error(some: Sequence[Product]) -> float:
        made = format.write(graph, some, short, rounding)
        return max(relative_errors(graph, made, names, short, BRIEF).values(), default=0.0)

    if not products or error(products) <= most:
        return {}
    errors = {product.output: error([product]) for product in products}
    return {
        output: f"its rounding in {format.name} alone moves an output by {moved:.1%}"
        for output, moved in errors.items()
        if moved > most
    }


def _beginning(calibration: Calibration) -> Calibration:
    """The first sequences, `BRIEF` ticks of them."""
    left, kept = BRIEF, []
    for sequence in calibration.sequences:
        kept.append(sequence[:left])
        left -= len(kept[-1])
        if left <= 0:
            break
    return Calibration(kept, calibration.initial)
