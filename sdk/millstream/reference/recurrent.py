"""LSTM, GRU and RNN over one or many time steps, in one or both directions, computed in float64.

Source of every definition: the ONNX operator specification, opset 21. Weights have a leading axis for the
direction D (1 or 2) and G gates of H units each: w (D, G H, I), r (D, G H, H), b (D, 2 G H), the biases of
w before those of r. With `layout` 0 the input is (T, B, I), states are (D, B, H) and the output sequence
is (T, D, B, H); with `layout` 1 they are (B, T, I), (B, D, H) and (B, T, D, H). `hidden_size` repeats H.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.reference.activation import elu, hard_sigmoid, leaky_relu, relu, sigmoid, softplus, softsign
from millstream.reference.precision import Operator, wide

Activation = Callable[[np.ndarray], np.ndarray]
State = tuple[np.ndarray, ...]
Cell = Callable[[np.ndarray, State], State]

_ACTIVATIONS: dict[str, Activation] = {
    "elu": elu,
    "hardsigmoid": hard_sigmoid,
    "leakyrelu": leaky_relu,
    "relu": relu,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "softsign": softsign,
    "tanh": np.tanh,
}


@dataclass(frozen=True)
class _Weights:
    """One direction's weights, split by gate: w (G, H, I), r (G, H, H), w_bias and r_bias (G, H)."""

    w: np.ndarray
    r: np.ndarray
    w_bias: np.ndarray
    r_bias: np.ndarray
    activations: tuple[Activation, ...]

    def from_input(self, gate: int, x: np.ndarray) -> np.ndarray:
        return x @ self.w[gate].T + self.w_bias[gate]

    def from_state(self, gate: int, h: np.ndarray) -> np.ndarray:
        return h @ self.r[gate].T + self.r_bias[gate]

    def both(self, gate: int, x: np.ndarray, h: np.ndarray) -> np.ndarray:
        return self.from_input(gate, x) + self.from_state(gate, h)


def lstm(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    sequence_lens: np.ndarray | None = None,
    initial_h: np.ndarray | None = None,
    initial_c: np.ndarray | None = None,
    p: np.ndarray | None = None,
    activations: Sequence[str] = (),
    clip: float = np.inf,
    direction: str = "forward",
    hidden_size: int = 0,
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[np.ndarray, ...]:
    """The output sequence, the last h and the last c; gates stand in the order i, o, f, c.

    p (D, 3 H) are peephole weights for i, o, f; `input_forget` couples f = 1 - i.
    """
    parts = _split(w, r, b, 4, activations or ["Sigmoid", "Tanh", "Tanh"] * len(w), clip)
    peepholes = np.zeros((len(w), 3 * r.shape[-1])) if p is None else wide(p)
    cells = [
        _lstm_cell(part, np.split(peephole, 3), bool(input_forget))
        for part, peephole in zip(parts, peepholes, strict=True)
    ]
    return _recur(x, cells, (initial_h, initial_c), r.shape[-1], sequence_lens, direction, layout)


def _lstm_cell(part: _Weights, peepholes: Sequence[np.ndarray], input_forget: bool) -> Cell:
    gate, candidate, squash = part.activations
    p_input, p_output, p_forget = peepholes

    def cell(x: np.ndarray, state: State) -> State:
        h, c = state
        i = gate(part.both(0, x, h) + p_input * c)
        f = 1 - i if input_forget else gate(part.both(2, x, h) + p_forget * c)
        c = f * c + i * candidate(part.both(3, x, h))
        o = gate(part.both(1, x, h) + p_output * c)
        return o * squash(c), c

    return cell


def gru(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    sequence_lens: np.ndarray | None = None,
    initial_h: np.ndarray | None = None,
    activations: Sequence[str] = (),
    clip: float = np.inf,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> tuple[np.ndarray, ...]:
    """The output sequence and the last h; gates stand in the order z, r, h.

    `linear_before_reset` applies the reset gate after the recurrent matrix, as torch does.
    """
    parts = _split(w, r, b, 3, activations or ["Sigmoid", "Tanh"] * len(w), clip)
    cells = [_gru_cell(part, bool(linear_before_reset)) for part in parts]
    return _recur(x, cells, (initial_h,), r.shape[-1], sequence_lens, direction, layout)


def _gru_cell(part: _Weights, linear_before_reset: bool) -> Cell:
    gate, candidate = part.activations

    def cell(x: np.ndarray, state: State) -> State:
        (h,) = state
        update = gate(part.both(0, x, h))
        reset = gate(part.both(1, x, h))
        recurrent = reset * part.from_state(2, h) if linear_before_reset else part.from_state(2, reset * h)
        return ((1 - update) * candidate(part.from_input(2, x) + recurrent) + update * h,)

    return cell


def rnn(
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    sequence_lens: np.ndarray | None = None,
    initial_h: np.ndarray | None = None,
    activations: Sequence[str] = (),
    clip: float = np.inf,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
) -> tuple[np.ndarray, ...]:
    """The output sequence and the last h of h = f(W x + R h + biases)."""
    parts = _split(w, r, b, 1, activations or ["Tanh"] * len(w), clip)
    cells = [_rnn_cell(part) for part in parts]
    return _recur(x, cells, (initial_h,), r.shape[-1], sequence_lens, direction, layout)


def _rnn_cell(part: _Weights) -> Cell:
    (squash,) = part.activations
    return lambda x, state: (squash(part.both(0, x, state[0])),)


def _split(
    w: np.ndarray, r: np.ndarray, b: np.ndarray | None, gates: int, activations: Sequence[str], clip: float
) -> list[_Weights]:
    """The weights of each direction; every activation gets its input clipped to [-clip, clip]."""
    directions, rows = w.shape[:2]
    biases = np.zeros((directions, 2 * rows)) if b is None else wide(b)
    functions = [_clipped(_ACTIVATIONS[name.lower()], clip) for name in activations]
    each = len(functions) // directions
    return [
        _Weights(
            w=wide(w[d]).reshape(gates, -1, w.shape[-1]),
            r=wide(r[d]).reshape(gates, -1, r.shape[-1]),
            w_bias=biases[d, :rows].reshape(gates, -1),
            r_bias=biases[d, rows:].reshape(gates, -1),
            activations=tuple(functions[d * each : (d + 1) * each]),
        )
        for d in range(directions)
    ]


def _clipped(function: Activation, clip: float) -> Activation:
    return lambda x: function(np.clip(x, -clip, clip))


def _recur(
    x: np.ndarray,
    cells: Sequence[Cell],
    initial: Sequence[np.ndarray | None],
    hidden: int,
    sequence_lens: np.ndarray | None,
    direction: str,
    layout: int,
) -> tuple[np.ndarray, ...]:
    """Run every direction's cell over time: the output sequence, then each last state."""
    frames = wide(x.swapaxes(0, 1) if layout else x)
    steps, batch = frames.shape[:2]
    lengths = np.full(batch, steps) if sequence_lens is None else sequence_lens
    zeros = np.zeros((len(cells), batch, hidden))
    starts = [zeros if s is None else wide(s.swapaxes(0, 1) if layout else s) for s in initial]
    sequences, lasts = [], []
    for d, cell in enumerate(cells):
        backwards = direction == "reverse" or d == 1
        sequence, last = _scan(cell, frames, tuple(s[d] for s in starts), lengths, backwards)
        sequences.append(sequence)
        lasts.append(last)
    results = [np.stack(sequences, axis=1), *(np.stack(states) for states in zip(*lasts, strict=True))]
    if layout:
        results = [results[0].transpose(2, 0, 1, 3), *(state.swapaxes(0, 1) for state in results[1:])]
    return tuple(result.astype(x.dtype) for result in results)


def _scan(
    cell: Cell, frames: np.ndarray, state: State, lengths: np.ndarray, backwards: bool
) -> tuple[np.ndarray, State]:
    """One direction over time; past the end of its sequence a row keeps its state and puts out zeros."""
    outputs = np.zeros((*frames.shape[:2], state[0].shape[-1]))
    order = range(len(frames))
    for t in reversed(order) if backwards else order:
        alive = (t < lengths)[:, None]
        fresh = cell(frames[t], state)
        state = tuple(np.where(alive, new, old) for new, old in zip(fresh, state, strict=True))
        outputs[t] = np.where(alive, state[0], 0)
    return outputs, state


OPERATORS: dict[str, Operator] = {
    "GRU": gru,
    "LSTM": lstm,
    "RNN": rnn,
}
