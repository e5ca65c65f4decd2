"""The trained LMUFormer for JapaneseVowels: from its weights to the engine, bit for bit on real frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hls_sources import write
from safetensors.torch import load_file

import millstream_models
from millstream.datasets import japanese_vowels
from millstream.protocol import streamable
from millstream.quantize import FORMATS, quantize
from millstream.quantize.calibration import Calibration
from millstream.trace import trace
from millstream_hw import circuit, closed_loop, planning, verilator
from millstream_hw.circuit import Product
from millstream_hw.engine import image as machine
from millstream_hw.engine.compile import compile_circuit
from millstream_hw.engine.estimate import frame_cycles
from millstream_hw.engine.files import files
from millstream_hw.hls import csim
from millstream_hw.parts import SPRAM_WORDS, part_named
from millstream_models import CATALOGUE
from millstream_models.lmuformer import lmuformer_jv


def _in_fixed_point(format: str):
    """The graph in a format, calibrated on part of the training set, and its circuit."""
    entry = next(entry for entry in CATALOGUE if entry.name == "lmuformer_jv")
    model = lmuformer_jv()
    model.load_state_dict(load_file(Path(millstream_models.__file__).parent / entry.weights))
    frames = japanese_vowels.train().frames[::9]
    source = streamable(model, torch.tensor(frames[0][:1]))
    traced = trace(source, torch.tensor(frames[0][:1]))
    initial = [value[0].numpy() for value in source.initial.values()]
    graph = quantize(traced.graph, FORMATS[format], Calibration(frames, initial)).graph
    return graph, circuit.read(graph, initial)


@pytest.fixture(scope="module")
def trained():
    """In 16 bits."""
    return _in_fixed_point("fixed16")


@pytest.fixture(scope="module")
def narrow():
    """With weights of 8 bits."""
    return _in_fixed_point("fixed16-w8")


@pytest.fixture(scope="module")
def spoken(trained):
    return _spoken(*trained)


def _spoken(graph, found):
    """Test sequences as one stream with a reset before each, and the reference's words."""
    frames = japanese_vowels.test().frames[:4]
    begins = np.cumsum([0, *(len(each) for each in frames[:-1])])
    words = closed_loop.quantized(found, [np.concatenate(frames)])
    resets = np.zeros(len(words), bool)
    resets[begins] = True
    wanted = closed_loop.golden(graph, found, closed_loop.Frames(words, resets))
    return words, resets, wanted


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
    words, resets, wanted = _spoken(graph, found)
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
