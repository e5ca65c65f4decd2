"""A constant before the rounding of an activation: less error between integers, else nothing."""

from __future__ import annotations

import numpy as np
import pytest
from every_backend import EVERY_BACKEND, first_output
from quantized_graphs import calibration, driven_graph, recurrent_graph

from millstream.graph import StepGraph, initializers
from millstream.quantize import FORMATS, quantize, static
from millstream.quantize.calibration import Calibration, observed
from millstream.quantize.layers import noise_alone
from millstream.quantize.product import find
from millstream.quantize.ranges.choosing import result_error
from millstream.quantize.tolerance import largest_effect
from millstream.reference.interpreter import prepare

STATIC = FORMATS["w8a8-static"]


def _halves(graph: StepGraph) -> Calibration:
    """Samples of a mid-rise converter, half way between integers, which a step of 1 just holds."""
    rng = np.random.default_rng(2)
    count = graph.inputs[0].shape[1] or 1
    frames = rng.integers(-127, 127, (64, count)) + 0.5
    frames[::8, 0] = 127
    return Calibration([frames.astype(np.float32)], calibration(graph).initial)


def _noise_of(graph: StepGraph, seen: Calibration) -> dict[str, float]:
    return noise_alone(graph, STATIC, find(graph)[0], seen)


def test_values_between_integers_err_less(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = recurrent_graph()
    seen = _halves(graph)
    made = quantize(graph, STATIC, seen)
    assert {"input.noise", "drive.bias", "skip.bias"} <= initializers(made.graph.model).keys()
    with_noise = _noise_of(graph, seen)
    monkeypatch.setattr(static, "best_noise", lambda *_: None)
    without = _noise_of(graph, seen)
    assert with_noise["drive"] < 0.8 * without["drive"]
    assert with_noise["skip"] < 0.8 * without["skip"]
    assert all(with_noise[name] == without[name] for name in ("mixed", "read"))


def test_what_is_told_of_the_activation_is_what_is_computed() -> None:
    graph = recurrent_graph()
    seen = _halves(graph)
    made = quantize(graph, STATIC, seen)
    x = seen.sequences[0]
    (skip,) = (p for p in made.products if p.output == "skip")
    told = STATIC.activations(initializers(made.graph.model), skip, x)
    exact = x @ initializers(graph.model)["r"]
    got = prepare(observed(made.graph, ["skip"]).model)({"input": x, "state": np.zeros((64, 53), np.float32)})
    weights = STATIC.weights(graph, made.products, seen)
    rounded = weights(skip, initializers(graph.model)["r"])
    want = told.values.astype(np.float64) @ (rounded.values * rounded.steps(skip.channel))
    # Sums of float32 that are put right by a bias of their size.
    np.testing.assert_allclose(got["skip"], want, atol=1e-5 * np.abs(exact).max())


def test_values_that_lie_anywhere_are_left_alone() -> None:
    graph = recurrent_graph()
    made = quantize(graph, STATIC, calibration(graph))
    assert not any(name.endswith(".noise") for name in initializers(made.graph.model))


def test_a_bias_that_is_no_constant_is_left_alone() -> None:
    """The constant could not be taken away again."""
    graph = driven_graph()
    products, constants = find(graph)[0], initializers(graph.model)
    x = _halves(graph).sequences[0]
    driven = next(p for p in products if p.activation == "input")
    assert static.best_noise(x, [driven], constants, 127.0) is not None
    other = next(p for p in products if p.bias)
    assert other.bias not in constants
    assert static.best_noise(x, [driven, other], constants, 127.0) is None


def test_noise_that_does_no_good_is_not_kept() -> None:
    """All errors of half a step, but on a weight that is 0."""
    graph = driven_graph()
    (driven,) = (p for p in find(graph)[0] if p.activation == "input")
    constants = {driven.weight: np.zeros((40, 40), np.float32)}
    x = _halves(graph).sequences[0]
    assert result_error(x, [driven], constants, 127.0) == 0
    assert static.best_noise(x, [driven], constants, 127.0) is None


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_a_step_with_noise_is_the_same_everywhere(backend: str) -> None:
    graph = recurrent_graph()
    seen = _halves(graph)
    made = quantize(graph, STATIC, seen)
    x, state = seen.sequences[0], np.zeros((64, 53), np.float32)
    want = prepare(made.graph.model)({"input": x, "state": state})["output"]
    got = first_output(made.graph, backend, x, state)
    effect = largest_effect(made.graph, seen, 8)
    assert (np.abs(got - want) <= (1e-5 + 2 * effect) * np.abs(want).max()).all()
