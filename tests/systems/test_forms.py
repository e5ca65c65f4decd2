"""Every system of the catalogue: naive definition, sequence form and step form are one function."""

import copy

import pytest
import torch
from systems import NAMES, frames, moved, naive_model, relative, stepped

#: Float64 keeps 16 digits; two blocks with norms and up to 37 frames lose four of them at most.
EXACT = 1e-11
#: Float32 keeps 7 digits; the same blocks lose up to two of them.
SINGLE = 2e-5

#: Newton-Schulz steps blow small singular values up, by 3.4 a round and 480 in five: whatever rounding is in
#: them comes back, frame after frame. Of 16 digits six are left after 37 frames, and of 7 two.
AMPLIFIED = {"atlas": (1e-6, 1e-2)}


def exact(name):
    return AMPLIFIED.get(name, (EXACT, SINGLE))[0]


def single(name):
    return AMPLIFIED.get(name, (EXACT, SINGLE))[1]


pytestmark = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize("length", [1, 2, 19])
def test_the_sequence_form_is_the_naive_definition(name, length):
    model, x = moved(name), frames(length)
    expected = torch.stack([naive_model(model, row) for row in x])
    assert relative(model(x), expected) < exact(name)


@pytest.mark.parametrize("length", [1, 3, 37])
def test_the_step_form_is_the_sequence_form(name, length):
    model, x = moved(name), frames(length)
    streamed, state = stepped(model, x)
    expected, after = model.prefill(x, model.initial_state(len(x)))
    assert relative(streamed, expected) < exact(name)
    assert {key: value.shape for key, value in state.items()} == {k: v.shape for k, v in after.items()}
    for key, value in state.items():
        assert value.dtype == after[key].dtype
        assert relative(value, after[key]) < exact(name), key


@pytest.mark.parametrize("cuts", [(1, 36), (17, 18), (16, 5), (3, 3)])
def test_prefill_in_chunks_then_decode_is_all_decode(name, cuts):
    model, x = moved(name), frames(37, seed=1)
    expected, _ = stepped(model, x)
    state, outputs, place = model.initial_state(len(x)), [], 0
    for length in cuts:
        y, state = model.prefill(x[:, place : place + length], state)
        outputs.append(y)
        place += length
    if place < x.shape[1]:
        outputs.append(stepped(model, x[:, place:], state)[0])
    assert relative(torch.cat(outputs, 1), expected) < exact(name)


def test_float32_stays_near_float64(name):
    model, x = moved(name), frames(41, seed=2)
    narrow = copy.deepcopy(model).float()
    expected = model(x)
    assert relative(narrow(x.float()), expected) < single(name)
    assert relative(stepped(narrow, x.float())[0], expected) < single(name)


def test_a_step_changes_neither_its_operands_nor_the_module(name):
    model, x = moved(name), frames(3)
    _, state = stepped(model, x)
    before = {key: value.clone() for key, value in state.items()}
    held = {key: value.clone() for key, value in model.state_dict().items()}
    y, after = model.step(x[:, 0], state)
    assert all(torch.equal(state[key], value) for key, value in before.items())
    assert all(torch.equal(held[key], value) for key, value in model.state_dict().items())
    assert {k: (v.shape, v.dtype) for k, v in state.items()} == {
        k: (v.shape, v.dtype) for k, v in after.items()
    }
    assert y.shape == (2, 8)


def test_no_frame_sees_a_later_one(name):
    model, x = moved(name), frames(20, seed=3)
    changed = x.clone()
    changed[:, 11:] += 1.0
    change = (model(x) - model(changed)).abs().amax((0, 2))
    # What is summed by FFT spreads rounding, not information.
    assert (change[:11] < 1e-11).all()
    assert change[11:].max() > 1e-6
