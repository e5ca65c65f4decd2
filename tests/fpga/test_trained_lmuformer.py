"""The trained LMUFormer for JapaneseVowels: from its weights to the engine, bit for bit on real frames."""

import numpy as np
import pytest
import trained_circuits
from hls_sources import write

from millstream_hw import planning
from millstream_hw.engine import image as machine
from millstream_hw.engine.compile import compile_circuit
from millstream_hw.hls import csim
from millstream_hw.parts import part_named


@pytest.fixture(scope="module")
def trained():
    return trained_circuits.trained("lmuformer_jv")


@pytest.fixture(scope="module")
def spoken(trained):
    return trained_circuits.spoken(*trained, 4)


@pytest.mark.slow
def test_hls4ml_gives_the_reference_logits_on_real_frames(trained, spoken, tmp_path):
    """Through C simulation, with about 32 products for each multiplier."""
    _, found = trained
    words, resets, wanted = spoken
    write(tmp_path, found, target=32)
    csim.compile_simulator(str(tmp_path))
    assert np.array_equal(csim.simulate(str(tmp_path), words, resets, wanted.shape[1]), wanted)


@pytest.mark.slow
def test_the_engine_gives_the_reference_logits_on_real_frames(trained, spoken):
    _, found = trained
    words, resets, wanted = spoken
    image = compile_circuit(found, 16)
    data = machine.reset(image)
    for number, (row, begin) in enumerate(zip(words, resets, strict=True)):
        data = machine.reset(image) if begin else data
        assert np.array_equal(machine.frame(image, data, row), wanted[number])


def test_the_running_mean_stays_on_the_host(trained):
    _, found = trained
    assert [port.shape for port in found.outputs] == [(9,)]
    assert found.around is not None
    assert {node.op_type for node in found.around.graph.node} == {"Cast", "Add", "Div"}


def test_it_fits_an_ecp5_of_85_thousand_cells_and_no_ice40(trained):
    _, found = trained
    plan = planning.plan(found, part_named("lfe5u-85f"), "engine")
    assert plan.lanes == 32
    assert plan.estimate.microseconds(100) < 50
    assert "block RAMs" in planning.plan(found, part_named("ice40up5k"), "engine").overflows[0]
