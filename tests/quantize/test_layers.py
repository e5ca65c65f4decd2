"""The figures of each layer, held against what can be computed by hand, and the layer to blame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from quantized_graphs import calibration, recurrent_graph

from millstream.graph import StepGraph, build, initializers
from millstream.quantize import FORMATS, Quantized, quantize
from millstream.quantize.calibration import Calibration, observed, stream
from millstream.quantize.layers import Layer, layers, to_blame


def _with(graph: StepGraph, name: str, weight: np.ndarray) -> StepGraph:
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    (held,) = [item for item in model.graph.initializer if item.name == name]
    held.CopyFrom(onnx.numpy_helper.from_array(weight, name))
    return build(model, graph.states)


def _looked_at(made: Quantized, seen: Calibration) -> tuple[Layer, ...]:
    return layers(made.prepared, made.graph, made.format, made.products, seen)


def _decibels(want: np.ndarray, got: np.ndarray) -> float:
    return 10 * np.log10(np.square(want).sum() / np.square(got - want).sum())


@pytest.mark.parametrize("name", ["w8", "w8a8", "w8a8-static", "w4a8"])
def test_figures_are_those_of_the_graphs(name: str) -> None:
    graph = recurrent_graph()
    seen = calibration(graph)
    made = quantize(graph, FORMATS[name], seen)
    found = _looked_at(made, seen)
    assert [each.result for each in found] == [product.output for product in made.products]
    # Smoothing may have scaled what is between the products.
    constants = initializers(made.prepared.model)
    names = [product.output for product in made.products]
    exact = list(stream(observed(made.prepared, [*names, *(p.activation for p in made.products)]), seen))
    whole = list(stream(observed(made.graph, names), seen))
    for layer, product in zip(found, made.products, strict=True):
        want, got = ([values[product.output] for values in run] for run in (exact, whole))
        assert layer.together == pytest.approx(_decibels(np.array(want), np.array(got)), rel=1e-6)
        assert (layer.low, layer.high) == (np.min(want), np.max(want))
        assert layer.weight.low == constants[product.weight].min()
        taken = np.array([values[product.activation] for values in exact])
        assert (layer.activation.low, layer.activation.high) == (taken.min(), taken.max())
        assert 0 < layer.weight.steps[0] <= layer.weight.steps[1]
        assert (layer.activation.steps[0] > 0) == ("a8" in name)
    # Nothing comes before the first layer, so it is as noisy together as alone.
    assert found[0].together == pytest.approx(found[0].alone, rel=1e-6)
    # Errors of the layers before and of the states come in later.
    assert (found[1].together or 0.0) < (found[1].alone or 0.0)


def test_a_range_that_is_too_small_for_what_comes_saturates() -> None:
    graph = recurrent_graph()
    seen = calibration(graph)
    made = quantize(graph, FORMATS["w8a8-static"], seen)
    assert all(layer.activation.saturated == 0 for layer in _looked_at(made, seen))
    constants = {**initializers(made.graph.model), "input.step": np.array(0.01, np.float32)}
    (first, *_) = made.products
    x = seen.sequences[0]
    rounded = made.format.activations(constants, first, x)
    assert rounded.saturated == ((x > 1.275) | (x < -1.285)).sum() > 0
    assert np.abs(rounded.values - np.clip(x, -1.28, 1.27)).max() <= 0.00501


def test_weights_that_are_integers_already_are_exact() -> None:
    graph = recurrent_graph()
    values = np.random.default_rng(0).integers(-127, 128, (53, 53)).astype(np.float32)
    values[0] = 127
    graph, seen = _with(graph, "v", values), calibration(graph)
    found = {layer.origin: layer for layer in _looked_at(quantize(graph, FORMATS["w8"], seen), seen)}
    assert found["v"].weight.decibels is None
    assert found["v"].alone is None
    assert found["u"].weight.decibels is not None


def test_the_first_layer_beyond_the_bound_is_to_blame() -> None:
    graph = recurrent_graph()
    seen = calibration(graph)
    assert not to_blame(_looked_at(quantize(graph, FORMATS["w8a8"], seen), seen), FORMATS["w8a8"].max_error)
    # The weights of an input that is always 0 take the whole range; the others are left a step or two.
    weights = {name: array.copy() for name, array in initializers(graph.model).items()}
    weights["u"][:, 0] = weights["bias"][0] = 0
    weights["v"][0] *= 100
    for name in ("u", "bias", "v"):
        graph = _with(graph, name, weights[name])
    # With the bound of the format the layer would get weights in int8.
    found = _looked_at(quantize(graph, replace(FORMATS["w4"], max_error=10), seen), seen)
    assert to_blame(found, FORMATS["w4"].max_error) == "mixed"
    assert min(found, key=lambda layer: layer.alone or 0.0).result == "mixed"
