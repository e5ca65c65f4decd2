"""Products that multiply nothing but zeros while the example streams."""

from __future__ import annotations

import numpy as np
import pytest
from quantized_graphs import calibration, recurrent_graph

from millstream.errors import NothingToQuantize
from millstream.quantize import FORMATS, flattened, quantize
from millstream.quantize.calibration import Calibration
from millstream.quantize.product import find


def _silent(sequences: int, frames: int) -> Calibration:
    graph = recurrent_graph()
    (frame,) = graph.inputs
    silence = np.zeros((frames, *frame.shape[1:]), np.float32)
    return Calibration([silence] * sequences, calibration(graph).initial)


@pytest.mark.parametrize("name", ["w8", "w8a8-static", "w4"])
def test_an_example_that_moves_nothing_quantizes_nothing(name: str) -> None:
    """The bias drives the state all the same, so what reads that is quantized; without it nothing is."""
    graph = recurrent_graph()
    made = quantize(graph, FORMATS[name], _silent(2, 4))
    assert {product.activation for product in made.products} == {"state.next", "rectified"}
    assert len([weight for weight in made.left if "0 in every frame" in weight.why]) == 2
    for item in graph.model.graph.initializer:
        if item.name == "bias":
            item.raw_data = bytes(len(item.raw_data))
    with pytest.raises(NothingToQuantize, match="0 in every frame of the example"):
        quantize(graph, FORMATS[name], _silent(1, 1))


def test_an_example_that_moves_all_leaves_nothing_for_that() -> None:
    graph = recurrent_graph()
    made = quantize(graph, FORMATS["w8"], calibration(graph))
    assert len(made.products) == len(find(flattened(graph))[0])
