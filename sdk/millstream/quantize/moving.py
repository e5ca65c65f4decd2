"""Products of which the example shows nothing: what they multiply is 0 in every frame.

No range and no error of theirs can be measured, so that every format would look exact. A single frame is such
an example for all that reads a state: the state is still what it began as.
"""

from __future__ import annotations

from collections.abc import Sequence

from millstream.graph import StepGraph, initializers
from millstream.quantize.calibration import Calibration, observed, stream
from millstream.quantize.product import Product, Weight, left_in_float

_STILL = "what it multiplies is 0 in every frame of the example: give longer or more sequences"


def moving(
    graph: StepGraph, products: Sequence[Product], calibration: Calibration
) -> tuple[list[Product], list[Weight]]:
    """Those of the products whose activation is ever other than 0, and the weights of the others."""
    still = _still(graph, {product.activation for product in products if not product.is_lookup}, calibration)
    constants = initializers(graph.model)
    return (
        [product for product in products if product.activation not in still],
        [left_in_float(p, constants, _STILL) for p in products if p.activation in still],
    )


def _still(graph: StepGraph, names: set[str], calibration: Calibration) -> set[str]:
    """Those of the values that are 0 in every frame; nothing streams any longer once there are none."""
    still = set(names)
    ticks = stream(observed(graph, sorted(names)), calibration)
    while still and (values := next(ticks, None)) is not None:
        still = {name for name in still if not values[name].any()}
    return still
