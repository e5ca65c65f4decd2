"""The fixed-point form of a step: near float, exact in integers, and refused where it cannot be."""

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from fixed_graphs import (
    GRAPHS,
    SMOOTH,
    calibration,
    delta,
    fixed,
    gaussian,
    gru,
    recurrent,
    shuffle,
    spiking,
    step,
    window,
    zeros,
)

from millstream.errors import DataInvalid, UnsupportedOperators
from millstream.graph import initializers
from millstream.prove_quantized import MOST_OTHERWISE, near_float
from millstream.quantize import FORMATS, quantize
from millstream.quantize.calibration import observed, stream
from millstream.quantize.error import relative_errors
from millstream.quantize.fixed_point import inverse, saturation
from millstream.quantize.fixed_point.functions import functions
from millstream.quantize.fixed_point.ranges import fraction_bits
from millstream.quantize.fixed_point.spiking import apart
from millstream.reference.interpreter import evaluate
from millstream_hw import circuit, golden
from millstream_hw.circuit import Curve

graphs = pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)


@pytest.mark.parametrize("make", SMOOTH.values(), ids=SMOOTH)
def test_a_fixed_point_step_stays_near_its_float_step(make):
    graph = make()
    frames = gaussian(graph)
    names = [value.name for value in graph.model.graph.output]
    errors = relative_errors(graph, fixed(graph, frames), names, calibration(graph, frames))
    # A table has 2,048 bins. Headroom and the next power of two make its range at most 3 times the largest
    # value, here 4 sigma: a bin is 24 sigma / 2,048, and a slope of 2 is off by 2 / sqrt(12) of it in RMS.
    assert max(errors.values()) < 24 / 2048 * 2 / 12**0.5


@graphs
def test_the_circuit_is_the_reference_bit_for_bit_also_where_values_saturate(make):
    graph = make()
    form = fixed(graph, gaussian(graph))
    frames = gaussian(graph, 60, seed=5, spread=3.0)
    found = circuit.read(form, zeros(graph))
    (port,) = found.inputs
    names = [p.name for p in found.outputs] + [s.following for s in found.states]
    states = golden.initial(found)
    for x, wanted in zip(frames, stream(observed(form, names), calibration(graph, frames)), strict=True):
        words = np.clip(np.rint(x * 2.0**port.fraction), -32768, 32767).astype(np.int16)
        values = golden.step(found, {port.name: words}, states)
        states = golden.following(found, values)
        for name in names:
            assert np.array_equal(values[name], wanted[name][0]), name


@graphs
def test_a_state_has_the_binary_point_of_its_next_value(make):
    form = fixed(make(), gaussian(make()))
    scales = {n.input[0]: n.input[1] for n in form.model.graph.node if n.op_type == "QuantizeLinear"}
    written = {n.output[0]: n.input[1] for n in form.model.graph.node if n.op_type == "DequantizeLinear"}
    assert form.states
    for pair in form.states:
        assert scales[pair.name] == written[pair.next_name]


@pytest.mark.parametrize(
    ("x", "factor", "shift", "wanted"),
    [
        (5, 1, 1, 3),
        (-5, 1, 1, -2),
        (4, 1, 3, 1),
        (-4, 1, 3, 0),
        (30000, 30000, 2, 32767),
        (-30000, 9, 0, -32768),
    ],
)
def test_a_rounding_takes_halves_up_and_saturates(x, factor, shift, wanted):
    values = {
        "x": np.array([[x]], np.int16),
        "factor": np.array([factor], np.int16),
        "bias": np.array([0]),
        "scale": np.array(2.0**-shift),
        "low": np.array(-32768.0),
        "high": np.array(32767.0),
    }
    node = onnx.helper.make_node("FixedScale", list(values), ["y"], domain="millstream")
    graph = onnx.helper.make_graph([node], "one", [], [onnx.helper.make_empty_tensor_value_info("y")])
    graph.input.extend(onnx.helper.make_empty_tensor_value_info(name) for name in values)
    model = onnx.helper.make_model(graph, functions=list(functions()))
    assert evaluate(model, values)["y"].item() == wanted


def test_a_chain_of_functions_of_one_value_is_one_table():
    form = fixed(shuffle(), gaussian(shuffle()))
    kinds = [node.op_type for node in form.model.graph.node]
    assert kinds.count("FixedTable") == 1


def _means(axis: int):
    text = """
    step (float[B, 4] input, float[B, 4] state) => (float[B, N] output, float[B, 4] state_next) {
      total = Add (input, state)
      state_next = Mul (total, half)
      grid = Unsqueeze (total, one)
      output = ReduceMean <keepdims = 0> (grid, axis)
    }
    """
    constants = {"half": np.array(0.5, np.float32), "one": np.array([1]), "axis": np.array([axis])}
    return step(text, {}, constants, ["state"])


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_a_mean_over_one_axis_is_a_product(axis):
    graph = _means(axis)
    frames = gaussian(graph)
    form = fixed(graph, frames)
    assert [node.op_type for node in form.model.graph.node].count("FixedProduct") == 1
    errors = relative_errors(graph, form, ["output"], calibration(graph, frames))
    # Two roundings to 16 bits, whose range is at most 3 times the largest value.
    assert errors["output"] < 1e-3


def test_a_mean_over_two_axes_is_refused():
    text = """
    step (float[B, 4, 2] input, float[B, 4] state) => (float[B, 1, 1] output, float[B, 4] state_next) {
      output = ReduceMean (input, both)
      state_next = Mul (state, half)
    }
    """
    constants = {"half": np.array(0.5, np.float32), "both": np.array([1, 2])}
    graph = step(text, {}, constants, ["state"])
    with pytest.raises(UnsupportedOperators, match="ReduceMean"):
        fixed(graph, gaussian(graph))


def test_weights_have_8_bits_but_where_a_state_would_drift():
    """A rotation that hardly forgets keeps 16; its drive and its read-out, as large, do not."""
    text = """
    step (float[B, 32] input, float[B, 32] state) => (float[B, 32] output, float[B, 32] state_next) {
      kept = MatMul (state, turn)
      driven = MatMul (input, w)
      state_next = Add (kept, driven)
      output = MatMul (state_next, v)
    }
    """
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))
    constants = {"turn": (0.999 * turn).astype(np.float32)}
    graph = step(text, {"w": (32, 32), "v": (32, 32)}, constants, ["state"])
    frames = gaussian(graph)
    form = quantize(graph, FORMATS["fixed16-w8"], calibration(graph, frames)).graph
    weights = {name: array.dtype for name, array in initializers(form.model).items() if "weight" in name}
    assert weights == {
        "kept.fixed.weight": np.int16,
        "driven.fixed.weight": np.int8,
        "output.fixed.weight": np.int8,
    }
    errors = relative_errors(graph, form, ["output", "state_next"], calibration(graph, frames))
    # Gaussian weights of up to 4 sigma in at least 64 steps: a step is sigma / 16, its rounding 1 / sqrt(12)
    # of it, in the drive and again in the read-out.
    assert max(errors.values()) < 2**0.5 / 16 / 12**0.5
    assert min(errors.values()) > 1e-3


def test_a_relu_behind_a_product_is_its_lower_limit():
    kinds = [n.op_type for n in fixed(recurrent(), gaussian(recurrent())).model.graph.node]
    assert "Relu" not in kinds
    assert kinds.count("FixedScale") == 0 or kinds.count("FixedProduct") == 4


def test_saturation_is_counted_and_none_happens_on_the_calibration():
    graph = gru()
    frames = gaussian(graph)
    form = fixed(graph, frames)
    assert saturation(form, calibration(graph, frames)) == {}
    met = saturation(form, calibration(graph, 20 * frames))
    assert met["input.fixed"].limited > 0
    assert all(0 < count.limited <= count.values for count in met.values())


def test_a_spike_is_at_no_limit_of_its_width():
    graph = spiking()
    frames = calibration(graph, gaussian(graph))
    form = quantize(graph, FORMATS["fixed16"], frames).graph
    assert any(values["spike.fixed"].any() for values in stream(observed(form, ["spike.fixed"]), frames))
    assert saturation(form, frames) == {}


def test_every_node_that_fixed_point_lacks_is_told_at_once():
    text = """
    step (float[B, 4] input, float[B, 4] state) => (float[B, 4] output, float[B, 4] state_next) {
      ordered = CumSum (input, one)
      rounded = Round (ordered)
      state_next = Add (rounded, state)
      output = Mod <fmod = 1> (input, state_next)
    }
    """
    graph = step(text, {}, {"one": np.array(1)}, ["state"])
    with pytest.raises(UnsupportedOperators) as caught:
        fixed(graph, gaussian(graph))
    for kind in ("CumSum", "Round", "Mod"):
        assert kind in str(caught.value)


@pytest.mark.parametrize("make", [delta, window])
def test_inverses_take_no_plain_table(make):
    kinds = [node.op_type for node in fixed(make(), gaussian(make())).model.graph.node]
    # Softplus and exp of the decay; exp of the scores.
    assert kinds.count("FixedTable") == 1
    assert kinds.count("FixedInverseNorm") == (2 if make is delta else 0)
    assert kinds.count("FixedInverse") == 1


@pytest.mark.parametrize("exponent", [-0.5, -1.0])
@pytest.mark.parametrize("unit", [2.0**-24, 3e-3])
def test_an_inverse_is_as_exact_for_every_magnitude(exponent, unit):
    """A bin is 2^-9 of its argument wide, or less, so the result is off by half of that times the exponent at
    most; then an entry is rounded to 12 bits or more, and the result to a whole number."""
    integers = np.unique(np.geomspace(1024, 2**46, 5000).astype(np.int64))
    wanted = 0.7 * (unit * integers) ** exponent
    fraction = fraction_bits(wanted.max(), 16)
    made = inverse.curve(exponent, 0.7, unit, fraction, 2**46)
    read = Curve(made.table, int(-np.log2(made.narrowings[0])), int(-2 * exponent), len(made.levels))
    found = golden.inverted(integers, read) * 2.0**-fraction
    assert np.all(np.abs(found - wanted) <= (2**-10 * -exponent + 2**-13) * wanted + 2.0 ** -(fraction + 1))


def test_an_inverse_of_no_positive_number_is_at_its_limit():
    made = inverse.curve(-1.0, 1.0, 2.0**-20, 8, 2**30)
    read = Curve(made.table, 1, 2, len(made.levels))
    assert golden.inverted(np.array([0, -1, -(2**29)]), read).tolist() == [32767] * 3


def test_an_inverse_of_what_was_negative_stays_a_plain_table():
    text = """
    step (float[B, 4] input, float[B, 4] state) => (float[B, 4] output, float[B, 4] state_next) {
      state_next = Mul (state, half)
      smaller = Sub (input, shift)
      output = Reciprocal (smaller)
    }
    """
    for shift, kind in ((-9.0, "FixedInverse"), (9.0, "FixedTable")):
        constants = {"half": np.array(0.5, np.float32), "shift": np.array(shift, np.float32)}
        graph = step(text, {}, constants, ["state"])
        form = fixed(graph, gaussian(graph))
        assert kind in [node.op_type for node in form.model.graph.node]
        errors = relative_errors(graph, form, ["output"], calibration(graph, gaussian(graph)))
        assert errors["output"] < 2**-9


def _comparison(kind: str, first: bool):
    operands = "level, input" if first else "input, level"
    text = f"""
    step (float[B, 3] input, float[B, 3] state) => (float[B, 3] output, float[B, 3] state_next) {{
      compared = {kind} ({operands})
      output = Cast <to = 1> (compared)
      state_next = Mul (state, half)
    }}
    """
    constants = {name: np.array(value, np.float32) for name, value in (("level", 0.5), ("half", 0.5))}
    return step(text, {}, constants, ["state"])


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_a_comparison_is_exact_and_as_strict_as_it_was(kind, first):
    """At the level, and one step of an int16 below and above it."""
    graph = _comparison(kind, first)
    form = fixed(graph, np.array([[-1, 0.5, 1]] * 3, np.float32))
    near = np.array([[0.5 - 2**-14, 0.5, 0.5 + 2**-14]], np.float32)
    (wanted,), (found,) = (
        [values["output"] for values in stream(each, calibration(graph, near))] for each in (graph, form)
    )
    assert np.array_equal(wanted, found)
    assert 0 < wanted.sum() < 3


def test_spikes_and_rings_of_spikes_have_no_fraction_bits():
    form = fixed(spiking(), gaussian(spiking()))
    scales = {n.input[0]: n.input[1] for n in form.model.graph.node if n.op_type == "QuantizeLinear"}
    assert scales["ring"] == "fixed.step.0"
    assert "fixed.step.0" not in (scales["first"], scales["second"])


def test_given_its_spikes_a_step_with_neurons_stays_near_float():
    graph = spiking()
    frames = calibration(graph, gaussian(graph))
    quantized = quantize(graph, FORMATS["fixed16"], frames)
    near, alike = near_float(quantized, frames)
    assert near.passed
    assert "given its spikes" in near.claim
    assert alike.passed
    # The same neurons with another threshold: their sums are near, what they decide is not.
    model = quantized.graph.model
    (bias,) = (item for item in model.graph.initializer if item.name == "spike.fixed.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) - 800, bias.name))
    found = apart(graph, quantized.graph, ("spike", "quiet"), ["output", "first_next"], frames, 40)
    assert max(found.errors.values()) < 0.01
    assert found.otherwise > MOST_OTHERWISE


def test_a_comparison_of_two_activations_is_refused():
    text = """
    step (float[B, 3] input, float[B, 3] state) => (float[B, 3] output, float[B, 3] state_next) {
      compared = Greater (input, state)
      output = Cast <to = 1> (compared)
      state_next = Identity (input)
    }
    """
    graph = step(text, {}, {}, ["state"])
    with pytest.raises(UnsupportedOperators, match="Greater"):
        fixed(graph, gaussian(graph))


def test_a_state_that_grows_without_end_is_refused():
    text = """
    step (float[B, 2] input, float[B, 2] state) => (float[B, 2] output, float[B, 2] state_next) {
      grown = Mul (state, two)
      state_next = Add (grown, input)
      output = Identity (state_next)
    }
    """
    graph = step(text, {}, {"two": np.array(2.0, np.float32)}, ["state"])
    with pytest.raises(DataInvalid, match="state_next"):
        fixed(graph, gaussian(graph))


def test_a_float_graph_is_no_circuit():
    with pytest.raises(UnsupportedOperators, match="fixed16"):
        circuit.read(gru(), zeros(gru()))
