"""Stepping a converted module gives what the module itself gives for whole sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from whole_sequence_modules import CASES, Case, Composed

import millstream
import millstream_runtime
from millstream import prove
from millstream.protocol import streamable
from millstream.sequences import Sequences
from millstream.streamify import Streamed, frames_of, streamify

#: A step sums in another order than a whole sequence; values are of order 1.
_BOUND = 2e-5


def _converted(case: Case) -> Streamed:
    return streamify(case.module(), case.frames(), time_axis=case.time_axis, window=case.window)


@pytest.mark.parametrize("name", CASES)
def test_stepping_equals_the_whole_sequence_at_every_length(name: str) -> None:
    case = CASES[name]
    streamed = _converted(case)
    assert (streamed.look_ahead, streamed.block) == (case.look_ahead, case.block)
    data = frames_of(streamed, case.frames(), case.time_axis)
    source = streamable(streamed, torch.tensor(data.frames[0][:1]))
    rung = prove.sequence_equals_step(source, data, prove.SEQUENCE_TOLERANCE)
    assert rung.passed, rung


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].block > 1])
def test_the_label_of_a_block_is_that_of_its_last_frame(name: str) -> None:
    case = CASES[name]
    streamed, block = _converted(case), case.block
    frames = np.moveaxis(np.asarray(case.frames()), case.time_axis, 1)
    length = len(frames[0]) // block * block - 1  # the last block is not full
    ticks = np.arange(len(frames[0]))
    labels = np.stack([ticks, np.where(ticks < length, ticks, -1)])
    given = Sequences((frames[0], frames[0][:length]), labels)
    cut = frames_of(streamed, given)
    blocks = len(frames[0]) // block
    assert cut.asked.tolist() == [[True] * blocks, [True] * (blocks - 1) + [False]]
    assert cut.answers[:blocks].tolist() == [block * (place + 1) - 1 for place in range(blocks)]


@pytest.mark.parametrize("name", ["symmetric with a residual", "u-net", "attention in a band", "last state"])
def test_streams_that_begin_and_end_at_other_times_do_not_see_each_other(name: str) -> None:
    case = CASES[name]
    streamed = _converted(case)
    x = torch.tensor(np.stack(frames_of(streamed, case.frames(), case.time_axis).frames))
    with torch.no_grad():
        want = streamed(x)
        late, length = 2, x.shape[1]
        state, rows = streamed.initial_state(2), []
        fresh = streamed.initial_state(1)
        for t in range(length + late + streamed.look_ahead):
            if t == late:
                state = {k: torch.cat((v[:1], fresh[k])) for k, v in state.items()}
            own = [x[0, t] if t < length else torch.zeros_like(x[0, 0])]
            own.append(x[1, t - late] if late <= t < length + late else torch.zeros_like(x[1, 0]))
            valid = torch.tensor([t < length, late <= t < length + late])
            given = (valid,) if streamed.look_ahead else ()
            y, state = streamed.step(torch.stack(own), state, *given)
            rows.append(y)
    got, wait = torch.stack(rows, 1), streamed.look_ahead
    for row, start in ((0, wait), (1, wait + late)):
        np.testing.assert_allclose(got[row, start : start + length], want[row], atol=_BOUND)


@pytest.mark.parametrize("name", ["u-net", "last state"])
def test_a_converted_module_exports_like_any_other_and_streams(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    streamed = _converted(case)
    data = frames_of(streamed, case.frames(), case.time_axis)
    about = millstream.About(hop=streamed.block if streamed.block > 1 else None)
    exported = millstream.export(streamed, data, target="onnxruntime", about=about)
    assert exported.contents.model.batch is None
    exported.save(tmp_path / "model.mill")
    samples = data.frames[1].reshape(-1, *data.frames[1].shape[2:]) if case.block > 1 else data.frames[1]
    with torch.no_grad():
        want = streamed(torch.tensor(data.frames[1])[None])[0].numpy()
    stream = millstream_runtime.load(tmp_path / "model.mill").stream()
    got = [y for start in range(0, len(samples), 5) for y in stream.push(samples[start : start + 5])]
    np.testing.assert_allclose(np.stack(got + stream.flush()), want, atol=_BOUND)


def test_the_sequence_form_is_the_module_itself() -> None:
    case = CASES["symmetric with a residual"]
    module, x = case.module(), case.frames()
    streamed = streamify(module, x, time_axis=2)
    with torch.no_grad():
        assert torch.equal(streamed(x.transpose(1, 2)), module(x).transpose(1, 2))


def test_a_window_longer_than_the_sequence_leaves_attention_as_it_is() -> None:
    case = CASES["causal attention"]
    module, x = case.module(), case.frames()
    streamed = streamify(module, x, window=40)
    with torch.no_grad():
        assert torch.equal(streamed(x), module(x))


def test_the_callers_module_is_left_alone() -> None:
    module = CASES["causal convolutions"].module().train()
    streamify(module, CASES["causal convolutions"].frames(), time_axis=2)
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_module_for_one_stream_is_converted_for_one() -> None:
    layer = nn.GRU(8, 6, batch_first=True)
    module = Composed(lambda x, g: g(x, torch.zeros(1, 1, 6))[0], layer).eval()
    x = torch.randn(1, 20, 8, generator=torch.Generator().manual_seed(1))
    streamed = streamify(module, x)
    source = streamable(streamed, x[:, 0])
    assert prove.sequence_equals_step(source, frames_of(streamed, x), prove.SEQUENCE_TOLERANCE).passed


def test_sequences_of_several_lengths_are_an_example() -> None:
    case = CASES["stride, then a recurrence"]
    rows = [row[:length].numpy() for row, length in zip(case.frames(), (29, 12, 7), strict=True)]
    streamed = streamify(case.module(), rows)
    assert [len(frames) for frames in frames_of(streamed, rows).frames] == [14, 6, 3]
