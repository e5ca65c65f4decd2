"""The step graphs and fused programs of the systems, and what their steps give in torch."""

from __future__ import annotations

import functools

import numpy as np
import torch
from systems import frames, one_block, relative

from millstream.graph import StepGraph
from millstream.lower import Lowered, lower
from millstream.protocol import streamable
from millstream.trace import trace

#: Float32 through one block, sums in another order: a few units of the seventh digit.
BOUND = 2e-5
#: Newton-Schulz steps blow rounding up, by 480 in a frame (`test_forms.py`).
AMPLIFIED = {"atlas": 2e-2}
TICKS = 5


@functools.cache
def graph_of(name: str) -> StepGraph:
    model = one_block(name)
    traced = trace(streamable(model, torch.zeros(1, 12)), torch.zeros(1, 12))
    assert traced.fixed_batch_reason == ""
    return traced.graph


@functools.cache
def lowered(name: str) -> Lowered:
    return lower(graph_of(name))


@functools.cache
def ticks(name: str) -> list[tuple[np.ndarray, dict, np.ndarray, dict]]:
    """Frame, states, output and next states of each tick in torch, one stream, as arrays."""
    model, found = one_block(name), []
    state = model.initial_state(1)
    for frame in frames(TICKS, batch=1, seed=4).float().unbind(1):
        y, following = model.step(frame, state)
        after = {name: following[name] for name in state}
        found.append((frame.numpy(), _arrays(state), y.numpy(), _arrays(after)))
        state = after
    return found


def _arrays(state: dict) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in state.items()}


def agree(name: str, output, states, expected_output, expected_states: dict) -> None:
    """Assert that flat results of one tick are those of torch."""
    allowed = AMPLIFIED.get(name, BOUND)
    for found, wanted in zip((output, *states), (expected_output, *expected_states.values()), strict=True):
        found = torch.tensor(np.asarray(found).reshape(wanted.shape))
        assert relative(found, torch.tensor(wanted)) < allowed
