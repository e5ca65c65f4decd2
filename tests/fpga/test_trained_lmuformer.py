"""The trained LMUFormer for JapaneseVowels: from its weights to the engine, bit for bit on real frames."""

import numpy as np
import pytest
import trained_circuits
from hls_sources import write

from millstream_hw import planning, verilator
from millstream_hw.circuit import Product
from millstream_hw.engine import image as machine
from millstream_hw.engine.compile import compile_circuit
from millstream_hw.engine.estimate import frame_cycles
from millstream_hw.engine.files import files
from millstream_hw.hls import csim
from millstream_hw.parts import SPRAM_WORDS, part_named


@pytest.fixture(scope="module")
def trained():
    """In 16 bits."""
    return trained_circuits.trained("lmuformer_jv", "fixed16")


@pytest.fixture(scope="module")
def narrow():
    """With weights of 8 bits."""
    return trained_circuits.trained("lmuformer_jv", "fixed16-w8")


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


@pytest.mark.slow
def test_an_engine_whose_constants_are_loaded_gives_the_reference_logits(narrow, tmp_path):
    """In Verilator. Three lanes of 8 bits fill two SPRAMs, and more words than one has two rows of them; the
    first load is broken off by a reset. Then one word of the load is wrong."""
    graph, found = narrow
    words, resets, wanted = trained_circuits.spoken(graph, found, 4)
    image = compile_circuit(found, 3)
    assert image.load_words > SPRAM_WORDS
    sources = files(image, loaded=True)
    for name, data in sources.items():
        (tmp_path / name).write_bytes(data)
    verilator.compile_simulator(str(tmp_path), [name for name in sources if name.endswith(".v")])
    run = verilator.simulate(str(tmp_path), words, resets, wanted.shape[1])
    assert np.array_equal(run.results, wanted)
    assert run.cycles.min() == frame_cycles(image)
    load = bytearray(sources["load.bin"])
    load[4 * len(image.weights) // 2] ^= 64
    (tmp_path / "load.bin").write_bytes(load)
    assert not np.array_equal(verilator.simulate(str(tmp_path), words, resets, 9).results, wanted)


@pytest.mark.slow
def test_only_the_matrix_of_the_memory_and_small_products_keep_16_bits_and_it_fits_an_ice40(narrow):
    _, found = narrow
    weights = [operation.work.weight for operation in found.operations if isinstance(operation.work, Product)]
    assert sorted(w.shape for w in weights if w.dtype == np.int16) == [(32, 32), (48, 1), (48, 9)]
    assert len([w for w in weights if w.dtype == np.int8]) == 9
    plan = planning.plan(found, part_named("ice40up5k"), "engine")
    assert (plan.fits, plan.lanes) == (True, 8)


def test_it_fits_an_ecp5_of_85_thousand_cells_and_with_half_the_lanes_an_ice40(trained):
    _, found = trained
    plan = planning.plan(found, part_named("lfe5u-85f"), "engine")
    assert plan.lanes == 32
    assert plan.estimate.microseconds(100) < 50
    plan = planning.plan(found, part_named("ice40up5k"), "engine")
    assert (plan.fits, plan.lanes) == (True, 4)
