"""Sequence form, step form and naive definition are one function, at every frame, borders included."""

import pytest
import torch

from millstream_models.lmuformer.naive import naive_forward

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 29)


def _sequence(length, batch=3):
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, 6, generator=generator, dtype=torch.float64)


def _stream_causal(model, x):
    state, outputs = model.initial_state(len(x)), []
    for frame in x.unbind(1):
        y, state = model.step(frame, state)
        outputs.append(y)
    return torch.stack(outputs, 1)


def _stream_symmetric(model, x, lengths):
    """Outputs of every tick; row b ends after lengths[b] frames and is then drained with NaN frames."""
    state, outputs = model.initial_state(len(x)), []
    for tick in range(x.shape[1] + model.look_ahead):
        valid = tick < torch.tensor(lengths)
        frame = torch.full_like(x[:, 0], torch.nan)
        if tick < x.shape[1]:
            frame = torch.where(valid[:, None], x[:, tick], frame)
        y, state = model.step(frame, state, valid)
        outputs.append(y)
    return torch.stack(outputs, 1)


def _stream(model, x):
    if model.look_ahead:
        return _stream_symmetric(model, x, [x.shape[1]] * len(x))[:, model.look_ahead :]
    return _stream_causal(model, x)


@pytest.mark.parametrize("length", LENGTHS)
def test_sequence_form_equals_the_naive_definition(either_model, length):
    x = _sequence(length)
    expected = torch.stack([naive_forward(either_model, row) for row in x])
    torch.testing.assert_close(either_model(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
def test_step_form_equals_the_naive_definition(either_model, length):
    x = _sequence(length)
    expected = torch.stack([naive_forward(either_model, row) for row in x])
    torch.testing.assert_close(_stream(either_model, x), expected, rtol=0, atol=1e-12)


def test_rows_of_one_batch_may_end_at_different_ticks(symmetric_model):
    lengths = [1, 4, 9]
    x = _sequence(9)
    streamed = _stream_symmetric(symmetric_model, x, lengths)
    for row, length in enumerate(lengths):
        expected = symmetric_model(x[row : row + 1, :length])[0]
        torch.testing.assert_close(streamed[row, 5 : 5 + length], expected, rtol=0, atol=1e-12)


def test_ticks_without_a_frame_leave_memory_sum_and_count_alone(symmetric_model):
    x = _sequence(7)
    state = symmetric_model.initial_state(3)
    for tick in range(7 + 5):
        frame = x[:, tick] if tick < 7 else torch.zeros_like(x[:, 0])
        _, state = symmetric_model.step(frame, state, torch.full((3,), tick < 7))
    assert state["frame_count"].tolist() == [[7], [7], [7]]
    _, later = symmetric_model.step(torch.ones_like(x[:, 0]), state, torch.zeros(3, dtype=torch.bool))
    for name in ("memory_0", "memory_1", "logit_sum", "frame_count"):
        assert torch.equal(later[name], state[name]), name


def test_outputs_see_exactly_the_declared_look_ahead(either_model):
    x = _sequence(20)
    changed = x.clone()
    changed[:, 12] += 1.0
    moved = (either_model(x) - either_model(changed)).abs().amax(dim=(0, 2)) > 1e-9
    # The FFT spreads rounding, not information: 1e-9 is far above the one and far below the other.
    assert moved.tolist() == [t >= 12 - either_model.look_ahead for t in range(20)]


def test_the_state_keeps_its_names_shapes_and_dtypes(either_model):
    before = either_model.initial_state(3)
    flags = (torch.ones(3, dtype=torch.bool),) if either_model.look_ahead else ()
    _, after = either_model.step(_sequence(1)[:, 0], before, *flags)
    described = [(name, t.shape, t.dtype, t.is_contiguous()) for name, t in before.items()]
    assert described == [(name, t.shape, t.dtype, t.is_contiguous()) for name, t in after.items()]
    assert all(t.shape[0] == 3 for t in before.values())
    assert all(not t.any() for t in before.values())


def test_a_step_changes_neither_its_operands_nor_the_module(either_model):
    x, state = _sequence(1)[:, 0], either_model.initial_state(3)
    flags = (torch.ones(3, dtype=torch.bool),) if either_model.look_ahead else ()
    buffers = {name: t.clone() for name, t in either_model.named_buffers()}
    given = {name: t.clone() for name, t in state.items()}
    either_model.step(x, state, *flags)
    assert all(torch.equal(state[name], t) for name, t in given.items())
    assert all(torch.equal(t, buffers[name]) for name, t in either_model.named_buffers())
