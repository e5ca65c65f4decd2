"""The unrolled circuit: da4ml's logic against the golden model, then its Verilog in closed loop."""

import numpy as np
import pytest
from fixed_graphs import attention, circuit_of, fixed, gaussian, gru, memory, recurrent, shuffle, zeros

from millstream.errors import UnsupportedOperators
from millstream_hw import circuit, closed_loop, golden, planning, verilator
from millstream_hw.parts import part_named
from millstream_hw.unrolled.files import files
from millstream_hw.unrolled.trace import gaps, trace


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


@pytest.mark.slow
def test_the_verilog_is_the_reference_bit_for_bit(tmp_path):
    """500 random frames that saturate, with resets in the middle of frames and ports that stall."""
    graph = fixed(memory(), gaussian(memory()))
    found = circuit.read(graph, zeros(memory()))
    made = files(found, trace(found))
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
    # 3 words in, one step, 2 words out.
    first = verilator.simulate(str(tmp_path), frames.words, frames.resets, 2)
    assert first.cycles.min() == 6 == planning.plan(found, part_named("lfe5u-85f"), "da4ml").estimate.cycles


@pytest.mark.parametrize("make", [gru, attention])
def test_what_da4ml_gets_wrong_is_refused_by_node(make):
    found = circuit_of(make())
    refused = {gap.node for gap in gaps(found)}
    products = {"gated.fixed", "new.fixed", "old.fixed"} if make is gru else {
        "kept.fixed", "written.fixed", "output.fixed"}  # fmt: skip
    assert refused == products
    with pytest.raises(UnsupportedOperators, match="da4ml"):
        planning.fitting(found, part_named("lfe5u-85f"), "da4ml")
