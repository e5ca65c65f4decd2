"""Keys of a delta rule in fixed point: never longer than 1, so that no state grows where strengths are 2."""

from __future__ import annotations

import numpy as np
import pytest
from fixed_graphs import REFLECTION, REFLECTION_FRAME, REFLECTION_WIDTH, circuit_of, fixed, reflection

from millstream.graph import StepGraph
from millstream.quantize.fixed_point import rewrite
from millstream.quantize.fixed_point.keys import short_keys
from millstream.reference.interpreter import prepare

TICKS = 100_000

#: The same by a division; a memory that writes without looking at what it holds; what is no unit vector.
_DIVIDED = REFLECTION.replace("inverse = Reciprocal (length)", "").replace(
    "Mul (key, inverse)", "Div (key, length)"
)
_PLAIN = REFLECTION.replace("Sub (wanted, found)", "Identity (wanted)")
_OTHER = REFLECTION.replace("Mul (key, key)", "Mul (query, query)").replace(
    "  key =", "  query = MatMul (input, w_query)\n  key =", 1
)
_OTHER = _OTHER[: _OTHER.rindex("  query =")] + _OTHER[_OTHER.rindex("  column =") :]


def _frames(count: int, seed: int = 1) -> np.ndarray:
    """Frames of many sizes, as real ones are."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, REFLECTION_FRAME)) * rng.uniform(0.2, 1, (count, 1))).astype(
        np.float32
    )


def _keys(made: StepGraph, frames: np.ndarray) -> np.ndarray:
    """The keys (T, K), as real numbers, that the fixed-point step multiplies its state by."""
    states = np.zeros((len(frames), REFLECTION_WIDTH, REFLECTION_WIDTH), np.float32)
    return prepare(made.model)({"input": frames, "memory": states})["unit"].astype(np.float64)


def _reflected(keys: np.ndarray) -> float:
    """The largest value that is left of the unit matrix when each key in turn reflects it, S (I - 2 k k^T),
    for so many ticks, or until it is beyond all bounds."""
    state = np.eye(REFLECTION_WIDTH)
    for key in np.resize(keys, (TICKS, REFLECTION_WIDTH)):
        state -= np.outer(2 * (state @ key), key)
        if np.abs(state).max() > 1e6:
            break
    return float(np.abs(state).max())


def test_no_key_is_longer_than_one() -> None:
    lengths = np.linalg.norm(_keys(fixed(reflection(), _frames(64)), _frames(4096, seed=2)), axis=1)
    assert lengths.max() <= 1
    assert np.median(lengths) > 0.9995


def test_a_key_that_is_divided_by_its_length_is_found() -> None:
    graph = reflection(_DIVIDED)
    assert short_keys(graph) is not graph


def test_no_state_grows_at_a_strength_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = _frames(500, seed=2)
    assert _reflected(_keys(fixed(reflection(), _frames(64)), frames)) <= 1
    monkeypatch.setattr(rewrite, "short_keys", lambda graph: graph)
    assert _reflected(_keys(fixed(reflection(), _frames(64)), frames)) > 10


def test_the_integers_of_a_state_stay_bounded_while_one_key_is_held() -> None:
    """The longest key, held: what the state holds under it changes its sign at every tick, no more."""
    made, frames = fixed(reflection(), _frames(64)), _frames(500, seed=2)
    frames[:, -1] = 0
    longest = frames[np.linalg.norm(_keys(made, frames), axis=1).argmax()]
    run, memory = prepare(made.model), 0.02 * np.ones((1, REFLECTION_WIDTH, REFLECTION_WIDTH), np.float32)
    for _ in range(1000):
        memory = run({"input": longest[None], "memory": memory})["memory_next"]
    assert np.abs(memory).max() < 0.1


@pytest.mark.parametrize("text", [_PLAIN, _OTHER], ids=["no correction", "no unit vector"])
def test_other_memories_are_left_alone(text: str) -> None:
    graph = reflection(text)
    assert short_keys(graph) is graph


def test_a_circuit_computes_short_keys() -> None:
    assert "unit.fixed" in {operation.output for operation in circuit_of(reflection()).operations}
