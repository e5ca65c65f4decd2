"""Narrowed fixed-point steps: constants on coarse steps, values of few bits, the graph still the model."""

import numpy as np
import pytest
import torch
from fixed_graphs import GRAPHS, calibration, delta, gaussian, memory, narrow, shuffle, spiking, zeros

from millstream.quantize.aware import PowerOfTwoWeight
from millstream.quantize.calibration import observed, stream
from millstream.quantize.fixed_point import saturation
from millstream.quantize.fixed_point.narrowing import narrowables
from millstream.quantize.fixed_point.rewrite import ready, written
from millstream.quantize.fixed_point.widths import Widths
from millstream.quantize.fixed_point.writer import narrowed
from millstream_hw import circuit, golden
from millstream_hw.circuit import Product

graphs = pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)


def _form(graph):
    return ready(graph, calibration(graph, gaussian(graph)))


@pytest.mark.parametrize("bits", [3, 4, 8, 16])
def test_constants_lie_on_the_finest_steps_of_their_column(bits):
    """Against a search for the steps of each column alone."""
    values = np.random.default_rng(0).standard_normal((6, 5)) * [1, 0.1, 3, 0.9, 1e-3]
    integers, fraction = narrowed(values, bits)
    assert integers.dtype == np.int16
    for column, found in zip(values.T, integers.T.astype(float) * 2.0**-fraction, strict=True):
        most = (1 << (bits - 1)) - 1
        own = next(n for n in range(40, -40, -1) if np.abs(column).max() * 2.0**n <= most)
        step = 2.0 ** -min(own, fraction)
        assert np.array_equal(found, np.floor(column / step + 0.5) * step)


@pytest.mark.parametrize("bits", [3, 4, 6])
def test_weights_trained_for_few_bits_lose_nothing(bits):
    drawn = torch.randn(7, 9, generator=torch.Generator().manual_seed(0))
    weight = PowerOfTwoWeight(bits)(drawn).double().numpy().T
    integers, fraction = narrowed(weight, bits)
    assert np.array_equal(integers * 2.0**-fraction, weight)


@graphs
def test_a_narrowed_step_keeps_to_its_bits_and_is_the_reference_bit_for_bit(make):
    graph, bits = make(), 6
    made = narrow(graph, bits)
    found = circuit.read(made, zeros(graph))
    (port,) = found.inputs
    names = [o.output for o in found.operations]
    limited = _limited(graph)
    assert limited.intersection(names)
    states = golden.initial(found)
    frames = gaussian(graph, 40, seed=5, spread=3.0)
    for x, wanted in zip(frames, stream(observed(made, names), calibration(graph, frames)), strict=True):
        words = np.clip(np.rint(x * 2.0**port.fraction), -32768, 32767).astype(np.int16)
        values = golden.step(found, {port.name: words}, states)
        states = golden.following(found, values)
        for name in names:
            assert np.array_equal(values[name], wanted[name][0]), name
        for name in limited.intersection(names):
            assert -(1 << (bits - 1)) <= values[name].min()
            assert values[name].max() < 1 << (bits - 1)


def _limited(graph):
    """The integers whose bits can be chosen."""
    form = _form(graph)
    groups = {each.name for each in narrowables(form) if not each.constant}
    return {f"{name}.fixed" for name in form.names if form.ranges.group(name) in groups}


def test_inverses_spikes_and_factors_of_contractions_keep_their_bits():
    for make, kept in ((delta, "key"), (delta, "inverse"), (spiking, "spike")):
        assert f"{kept}.fixed" not in _limited(make()), kept
    assert "frame.fixed" in _limited(delta())


def test_sixteen_bits_are_what_an_unnarrowed_step_has():
    assert narrow(shuffle(), 16).to_bytes() == written(_form(shuffle()), Widths()).to_bytes()


def test_constants_of_few_bits_hold_few_different_integers():
    form = _form(memory())
    found = circuit.read(written(form, Widths({}, {"kept": 3})), zeros(memory()))
    weights = {o.output: o.work.weight for o in found.operations if isinstance(o.work, Product)}
    odd = weights["kept.fixed"] // np.gcd.reduce(weights["kept.fixed"], axis=0)
    assert np.abs(odd).max() <= 4
    assert len(np.unique(weights["written.fixed"])) > 8


def test_a_value_at_the_limit_of_its_bits_is_counted():
    form = _form(memory())
    made = written(form, Widths({"memory_next": 8, "memory": 8}, {}))
    met = saturation(made, calibration(memory(), 20 * gaussian(memory())))
    assert met["memory_next.fixed"].limited > 0
