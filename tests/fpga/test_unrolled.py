"""The unrolled circuit: da4ml's logic against the golden model, then its Verilog in closed loop."""

import numpy as np
import pytest
from fixed_graphs import (
    attention,
    calibration,
    circuit_of,
    gaussian,
    gru,
    memory,
    recurrent,
    shuffle,
    zeros,
)

from millstream.errors import UnsupportedOperators
from millstream.quantize.fixed_point.rewrite import ready, written
from millstream.quantize.fixed_point.widths import Widths
from millstream_hw import circuit, closed_loop, golden, planning, verilator
from millstream_hw.parts import part_named
from millstream_hw.unrolled.bounds import Bounds, bounds
from millstream_hw.unrolled.files import files
from millstream_hw.unrolled.stages import cut
from millstream_hw.unrolled.trace import gaps, trace

#: A linear memory of 5 in 7 bits, driven and read by constants of 4.
NARROW = Widths(
    dict.fromkeys(("input", "kept", "written", "memory", "memory_next", "read", "output"), 7),
    dict.fromkeys(("kept", "written", "output"), 4),
)


def narrow_memory():
    graph = memory()
    return circuit.read(written(ready(graph, calibration(graph, gaussian(graph))), NARROW), zeros(graph))


@pytest.mark.parametrize("make", [memory, recurrent, shuffle])
def test_the_logic_gives_the_golden_bits_and_states(make):
    found = circuit_of(make())
    logic = trace(found)
    (port,) = found.inputs
    names = [p.name for p in found.outputs] + [s.following for s in found.states]
    states = golden.initial(found)
    for words in np.random.default_rng(0).integers(-32768, 32768, (20, port.size)).astype(np.int16):
        values = golden.step(found, {port.name: words.reshape(port.shape)}, states)
        given = np.concatenate([words, *(states[s.port.name].reshape(-1) for s in found.states)])
        wanted = np.concatenate([values[name].reshape(-1) for name in names])
        # da4ml's compiled interpreter is wrong on some wide values; its Python one is what was traced.
        assert np.array_equal(np.array(logic(given.astype(float)), float), wanted)
        states = golden.following(found, values)


@pytest.mark.parametrize("levels", [1, 4, 100])
def test_stages_one_after_the_other_are_the_whole_logic(levels):
    whole = trace(narrow_memory())
    stages = cut(whole, levels)
    assert (len(stages) == 1) == (levels == 100)
    words = np.random.default_rng(0).integers(-32, 32, (20, whole.shape[0])).astype(float)
    for given in words:
        made = given
        for stage in stages:
            made = np.array(stage(made), float)
        assert np.array_equal(made, np.array(whole(given), float))


def test_every_value_keeps_within_its_bounds_and_the_state_needs_no_word():
    found = narrow_memory()
    known = bounds(found)
    assert known["memory.fixed"].bits == 7
    assert known["output.fixed"] == Bounds(0, 63)
    (port,) = found.inputs
    states = golden.initial(found)
    for words in np.random.default_rng(0).integers(-32768, 32768, (50, *port.shape)).astype(np.int16):
        values = golden.step(found, {port.name: words}, states)
        for name, bound in known.items():
            assert bound.low <= values[name].min()
            assert values[name].max() <= bound.high
        states = golden.following(found, values)


@pytest.mark.parametrize(
    ("low", "high", "bits"), [(0, 0, 1), (0, 1, 1), (0, 7, 3), (-1, 0, 1), (-8, 7, 4), (-9, 7, 5)]
)
def test_bounds_count_their_bits(low, high, bits):
    assert Bounds(low, high).bits == bits


@pytest.mark.slow
def test_the_verilog_is_the_reference_bit_for_bit(tmp_path):
    """500 random frames that saturate, with resets in the middle of frames and ports that stall; the logic in
    stages."""
    graph = written(ready(memory(), calibration(memory(), gaussian(memory()))), NARROW)
    found = circuit.read(graph, zeros(memory()))
    stages = cut(trace(found), 5)
    assert len(stages) > 2
    made = files(found, stages)
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    verilator.compile_simulator(str(tmp_path), sorted(name for name in made if name.endswith(".v")))
    like = closed_loop.quantized(found, [gaussian(memory(), 100)])
    frames = closed_loop.random_frames(like, 500, 1)
    assert frames.resets.any()
    wanted = closed_loop.golden(graph, found, frames)
    for traffic in (verilator.Traffic(), verilator.Traffic(offered=40, taken=30, seed=2)):
        run = verilator.simulate(str(tmp_path), frames.words, frames.resets, 2, traffic)
        closed_loop.compare("the circuit", wanted, run.results)
    # 3 words in, a cycle for each stage, 2 words out.
    first = verilator.simulate(str(tmp_path), frames.words, frames.resets, 2)
    assert first.cycles.min() == 5 + len(stages)


def test_a_slower_clock_takes_fewer_stages_and_cycles():
    found, part = narrow_memory(), part_named("lfe5u-85f")
    plans = [planning.plan(found, part, "da4ml", clock_mhz=clock) for clock in (5, 50, 200)]
    cycles = [plan.estimate.cycles for plan in plans if plan.estimate]
    assert cycles[0] == 6
    assert cycles[0] < cycles[1] < cycles[2]


@pytest.mark.parametrize("make", [gru, attention])
def test_what_da4ml_gets_wrong_is_refused_by_node(make):
    found = circuit_of(make())
    refused = {gap.node for gap in gaps(found)}
    products = {"gated.fixed", "new.fixed", "old.fixed"} if make is gru else {
        "kept.fixed", "written.fixed", "output.fixed"}  # fmt: skip
    assert refused == products
    with pytest.raises(UnsupportedOperators, match="da4ml"):
        planning.fitting(found, part_named("lfe5u-85f"), "da4ml")
