"""Each way to find the range of an activation, on a layer that needs it, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from quantized_graphs import recurrent_graph

from millstream.quantize.calibration import Calibration, samples
from millstream.quantize.product import Product, find
from millstream.quantize.ranges.choosing import METHODS, best_range, result_error

ROWS, INPUTS, OUTPUTS = 400, 37, 29
#: An input that the layer multiplies by 0: whatever it holds, the result does not need it.
UNREAD = 5


def _layer() -> tuple[Product, dict[str, np.ndarray]]:
    (product,) = [each for each in find(recurrent_graph())[0] if each.weight == "r"]
    weight = np.random.default_rng(7).standard_normal((INPUTS, OUTPUTS)).astype(np.float32)
    weight[UNREAD] = 0
    return product, {"r": weight}


def _far_values() -> np.ndarray:
    """A value in 1,500 lies ten times beyond the rest, where the layer does not read it."""
    x = np.random.default_rng(0).standard_normal((ROWS, INPUTS))
    x[::40, UNREAD] = 30
    return x.astype(np.float32)


def _heavy_tails() -> np.ndarray:
    return np.random.default_rng(0).standard_t(3, (ROWS, INPUTS)).astype(np.float32)


def _two_sizes() -> np.ndarray:
    """One input, which the layer does not read, is spread over a range a hundred times that of the others."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (ROWS, INPUTS))
    x[:, UNREAD] *= rng.uniform(0, 300, ROWS) * (rng.random(ROWS) < 0.5)
    return x.astype(np.float32)


def _two_values() -> np.ndarray:
    """Spikes of one size, which all matter, far above a noise that hardly does."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, INPUTS)) * (rng.random((ROWS, INPUTS)) < 0.1)
    x[rng.random((ROWS, INPUTS)) < 0.02] = 8
    return x.astype(np.float32)


NEEDS = {
    "percentile 99.9": (_far_values, 20.0),
    "entropy": (_two_sizes, 50.0),
}


@pytest.mark.parametrize(("method", "make", "gain"), [(m, *need) for m, need in NEEDS.items()], ids=NEEDS)
def test_a_layer_that_needs_the_method_gets_it(
    method: str, make: Callable[[], np.ndarray], gain: float
) -> None:
    x = make()
    product, constants = _layer()
    errors = {
        name: result_error(x, [product], constants, find_range(np.abs(x).ravel()))
        for name, find_range in METHODS.items()
    }
    assert min(errors, key=lambda name: errors[name]) == method
    assert errors["min-max"] > gain * errors[method]
    chosen = best_range(x, [product], constants)
    assert chosen == METHODS[method](np.abs(x).ravel())


def test_what_gains_a_little_cuts_nothing_off() -> None:
    """Of heavy tails the least squared error takes a twentieth, less than what was not seen may cost."""
    x = _heavy_tails()
    product, constants = _layer()
    whole, best = (METHODS[name](np.abs(x).ravel()) for name in ("min-max", "squared error"))
    errors = [result_error(x, [product], constants, largest) for largest in (whole, best)]
    assert 1 < errors[0] / errors[1] < 1.25
    assert best_range(x, [product], constants) == whole


def test_where_everything_matters_nothing_is_cut_off() -> None:
    x = _two_values()
    product, constants = _layer()
    assert best_range(x, [product], constants) == METHODS["min-max"](np.abs(x).ravel())
    assert METHODS["entropy"](np.abs(x).ravel()) < 1


def test_the_least_squared_error_is_less_than_that_of_ranges_beside_it() -> None:
    magnitudes = np.abs(_heavy_tails()).ravel()

    def error(largest: float) -> float:
        step = largest / 127
        return float(np.square(np.minimum(np.rint(magnitudes / step), 127) * step - magnitudes).sum())

    best = METHODS["squared error"](magnitudes)
    assert all(error(best) < error(best * part) for part in (0.7, 0.8, 1.25, 1.5))


def test_zeros_have_a_range() -> None:
    product, constants = _layer()
    assert best_range(np.zeros((4, INPUTS), np.float32), [product], constants) == 1.0


def test_samples_of_what_is_too_large_are_spread_over_the_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = recurrent_graph()
    frames = np.arange(20, dtype=np.float32)[:, None] * np.ones(INPUTS, np.float32)
    seen = Calibration([frames[:7], frames[7:]], [np.zeros(53, np.float32)])
    whole = samples(graph, ["input"], seen)["input"]
    np.testing.assert_array_equal(whole, frames)
    monkeypatch.setattr("millstream.quantize.calibration.MOST_VALUES", 5 * INPUTS)
    np.testing.assert_array_equal(samples(graph, ["input"], seen)["input"], frames[::4])
