"""Which linear recurrences stay in float: those whose state keeps what the rounding of a step adds.

In state[t + 1] = A state[t] + ..., an error of A or of the rounded state is carried on. Where A forgets
quickly it dies away; in a Legendre memory or with a slow decay it adds up. It is measured, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration
from millstream.quantize.error import relative_errors
from millstream.quantize.product import Product

#: As long as the ladder streams without reset.
LONG = 1000
#: Relative RMS error of a state above which the recurrence that it runs through stays in float. Recurrences
#: that forget, such as those of a GRU, stand below 1 %; Legendre memories above 3 %.
MOST_DRIFT = 0.02
_MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def without_reset(calibration: Calibration) -> Calibration:
    """The frames of all sequences as one long stream, again from the front when they end."""
    frames = np.concatenate(list(calibration.sequences))
    places = np.arange(LONG) % len(frames)
    return Calibration([frames[places]], calibration.initial)


def drifting(
    graph: StepGraph,
    products: Sequence[Product],
    read: Mapping[str, str],
    quantized: Callable[[Sequence[Product]], StepGraph],
    calibration: Calibration,
) -> dict[str, str]:
    """The products that must stay in float, by output, and why.

    Those that read a state, as `states_read` found, are quantized alone and streamed without reset; one of
    them drifts when the state that it reads moves by more than `MOST_DRIFT`.
    """
    states = {product.output: read[product.output] for product in products if product.output in read}
    if not states:
        return {}
    tried = quantized([product for product in products if product.output in states])
    after = {pair.name: pair.next_name for pair in graph.states}
    names = sorted({after[state] for state in states.values()})
    errors = relative_errors(graph, tried, names, without_reset(calibration), LONG)
    moved = {output: (state, errors[after[state]]) for output, state in states.items()}
    return {
        output: f"its rounding moves the state {state} by {error:.1%} in {LONG} ticks"
        for output, (state, error) in moved.items()
        if error > MOST_DRIFT
    }


def states_read(graph: StepGraph, products: Sequence[Product]) -> dict[str, str]:
    """Output of a product -> the state that is its activation, moved at most. To be asked of the graph before
    it is prepared: a smoothed state is one no longer."""
    states = {pair.name for pair in graph.states}
    source = {n.output[0]: n.input[0] for n in graph.model.graph.node if n.op_type in _MOVES}
    found = {}
    for product in products:
        name = product.activation
        while name in source:
            name = source[name]
        if name in states:
            found[product.output] = name
    return found
