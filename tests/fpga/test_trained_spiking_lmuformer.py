"""The trained spiking LMUFormer for JapaneseVowels in fixed point: its accuracy, its bits on the engine."""

import numpy as np
import pytest
import trained_circuits

from millstream.datasets import japanese_vowels
from millstream.reference.interpreter import prepare
from millstream_hw.engine import image as machine
from millstream_hw.engine.compile import compile_circuit

#: Test utterances, of 370, that are named right at least: what is asked of the model in float.
RIGHT = 355


@pytest.fixture(scope="module")
def trained():
    return trained_circuits.trained("spiking_lmuformer_jv", "fixed16")


def test_enough_of_the_test_utterances_are_named_right(trained):
    """All utterances as one batch of streams; each is read when its own last frame has gone in."""
    graph, _ = trained
    split = japanese_vowels.test()
    lengths = np.array([len(frames) for frames in split.frames])
    padded = np.zeros((lengths.max(), len(lengths), 12), np.float32)
    for place, frames in enumerate(split.frames):
        padded[: len(frames), place] = frames
    run = prepare(graph.model)
    shapes = {t.name: (len(lengths), *t.shape[1:]) for t in graph.state_tensors}
    states = {t.name: np.zeros(shapes[t.name], t.dtype) for t in graph.state_tensors}
    last = np.zeros((len(lengths), 9))
    for tick, x in enumerate(padded):
        values = run({graph.inputs[0].name: x, **states})
        states = {pair.name: values[pair.next_name] for pair in graph.states}
        ends = lengths == tick + 1
        last[ends] = values[graph.outputs[0].name][ends]
    assert (last.argmax(1) == split.labels).sum() >= RIGHT


def test_spikes_stay_integers_of_one_bit(trained):
    """Each group of neurons fires once on integers, and every ring behind it keeps its zeros and ones."""
    _, found = trained
    limits = [each.rounding.high for each in found.operations if each.rounding]
    assert limits.count(1) == 11
    rings = [state.port for state in found.states if state.port.real.startswith("ring_")]
    assert sorted(port.fraction == 0 for port in rings) == [False, True, True, True, True]


@pytest.mark.slow
def test_the_engine_gives_the_reference_logits_on_real_frames(trained):
    graph, found = trained
    words, resets, wanted = trained_circuits.spoken(graph, found, 2)
    image = compile_circuit(found, 16)
    data = machine.reset(image)
    for number, (row, begin) in enumerate(zip(words, resets, strict=True)):
        data = machine.reset(image) if begin else data
        assert np.array_equal(machine.frame(image, data, row), wanted[number])
