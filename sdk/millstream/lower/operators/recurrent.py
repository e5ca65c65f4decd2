"""LSTM, GRU and RNN: every time step of a known number, written out one after the other.

Weights have a leading axis for the direction D (1 or 2) and G gates of H units each: w (D, G H, I),
r (D, G H, H), b (D, 2 G H), the biases of w before those of r. With `layout` 0 the input is (T, B, I),
states are (D, B, H) and the output sequence is (T, D, B, H); with `layout` 1 they are (B, T, I), (B, D, H)
and (B, T, D, H). Source: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import add, call, clamp, like, multiply, subtract
from millstream.lower.operators.activation import relu
from millstream.lower.operators.elementwise import broadcast
from millstream.lower.operators.linear import product
from millstream.lower.view import View
from millstream_runtime.program import Expression

Formula = Callable[[Expression], Expression]
State = tuple[View, ...]

_ACTIVATIONS: dict[str, Formula] = {
    "sigmoid": lambda x: call("sigmoid", x),
    "tanh": lambda x: call("tanh", x),
    "relu": relu,
}


@dataclass(frozen=True)
class _Direction:
    """One direction's weights: w (G H, I), r (G H, H), biases (G H,); peepholes (3 H,) of an LSTM."""

    w: View
    r: View
    w_bias: View | None
    r_bias: View | None
    peepholes: View | None
    activations: tuple[Formula, ...]

    def from_input(self, builder: Builder, x: View) -> View:
        """All gates of all time steps: (T, B, I) -> (T, B, G H)."""
        return _linear(builder, x, self.w, self.w_bias)

    def from_state(self, builder: Builder, h: View, gates: slice = slice(None)) -> View:
        """(B, H) -> (B, G H), or only the rows of some gates."""
        hidden = self.r.shape[1]
        first, last, _ = gates.indices(self.r.shape[0] // hidden)
        rows = (0, first * hidden, (last - first) * hidden)
        bias = self.r_bias.slice(*rows) if self.r_bias else None
        return _linear(builder, h, self.r.slice(*rows), bias)


#: One time step: the gates' share from the input (B, G H) and the state -> the next state, h first.
Cell = Callable[[Builder, _Direction, View, State], State]


def _linear(builder: Builder, x: View, weight: View, bias: View | None) -> View:
    y = product(builder, x, weight.transpose((1, 0)))
    return y if bias is None else broadcast(builder, [y, bias], add)


def _gates(view: View, count: int) -> list[View]:
    hidden = view.shape[-1] // count
    return [view.slice(1, gate * hidden, hidden) for gate in range(count)]


def _lstm(builder: Builder, node: Node) -> list[View]:
    coupled = bool(node.attributes.get("input_forget", 0))

    def cell(builder: Builder, part: _Direction, x: View, state: State) -> State:
        h, c = state
        gate, candidate, squash = part.activations
        total = broadcast(builder, [part.from_state(builder, h), x], add)
        i, o, f, new = _gates(total, 4)
        i, f = _peep(builder, part, 0, i, c), _peep(builder, part, 2, f, c)

        def update(i: Expression, f: Expression, new: Expression, c: Expression) -> Expression:
            kept = subtract(like(1, i), gate(i)) if coupled else gate(f)
            return add(multiply(kept, c), multiply(gate(i), candidate(new)))

        c = broadcast(builder, [i, f, new, c], update)
        o = _peep(builder, part, 1, o, c)
        return broadcast(builder, [o, c], lambda o, c: multiply(gate(o), squash(c))), c

    return _recur(builder, node, cell, "sigmoid tanh tanh", initial=(5, 6))


def _peep(builder: Builder, part: _Direction, place: int, gate: View, c: View) -> View:
    """A gate that also looks at the cell; the peepholes stand in the order i, o, f."""
    if part.peepholes is None:
        return gate
    hidden = gate.shape[-1]
    weight = part.peepholes.slice(0, place * hidden, hidden)
    return broadcast(builder, [gate, weight, c], lambda g, p, c: add(g, multiply(p, c)))


def _gru(builder: Builder, node: Node) -> list[View]:
    cell = _gru_reset_after if node.attributes.get("linear_before_reset", 0) else _gru_reset_before
    return _recur(builder, node, cell, "sigmoid tanh", initial=(5,))


def _gru_reset_after(builder: Builder, part: _Direction, x: View, state: State) -> State:
    """The reset gate is applied after the recurrent matrix, as torch does."""
    (h,) = state
    gate, candidate = part.activations
    z, r, n = _gates(x, 3)
    hz, hr, hn = _gates(part.from_state(builder, h), 3)

    def new(n: Expression, r: Expression, hr: Expression, hn: Expression) -> Expression:
        return candidate(add(n, multiply(gate(add(r, hr)), hn)))

    def update(z: Expression, hz: Expression, h: Expression, *rest: Expression) -> Expression:
        return _mixed(gate(add(z, hz)), new(*rest), h)

    return (broadcast(builder, [z, hz, h, n, r, hr, hn], update),)


def _gru_reset_before(builder: Builder, part: _Direction, x: View, state: State) -> State:
    """The reset gate is applied to the state, before the recurrent matrix."""
    (h,) = state
    gate, candidate = part.activations
    z, r, n = _gates(x, 3)
    hz, hr = _gates(part.from_state(builder, h, slice(0, 2)), 2)
    reset = broadcast(builder, [r, hr, h], lambda r, hr, h: multiply(gate(add(r, hr)), h))
    hn = part.from_state(builder, reset, slice(2, 3))

    def update(z: Expression, hz: Expression, h: Expression, n: Expression, hn: Expression) -> Expression:
        return _mixed(gate(add(z, hz)), candidate(add(n, hn)), h)

    return (broadcast(builder, [z, hz, h, n, hn], update),)


def _mixed(update: Expression, new: Expression, old: Expression) -> Expression:
    return add(multiply(subtract(like(1, update), update), new), multiply(update, old))


def _rnn(builder: Builder, node: Node) -> list[View]:
    def cell(builder: Builder, part: _Direction, x: View, state: State) -> State:
        (squash,) = part.activations
        recurrent = part.from_state(builder, state[0])
        return (broadcast(builder, [recurrent, x], lambda h, x: squash(add(h, x))),)

    return _recur(builder, node, cell, "tanh", initial=(5,))


def _recur(builder: Builder, node: Node, cell: Cell, activations: str, initial: Sequence[int]) -> list[View]:
    """Run the cell of every direction over time: the output sequence, then each last state."""
    batch_first = bool(node.attributes.get("layout", 0))
    x = node.view(0).transpose((1, 0, 2)) if batch_first else node.view(0)
    steps, batch = x.shape[:2]
    if (node.known_or(4, np.array(steps)) != steps).any():
        raise Untranslatable("sequences shorter than the input", "cut the input to its length")
    directions = _directions(node, activations)
    hidden = directions[0].r.shape[1]
    sequence = builder.allocate(x.dtype, (steps, len(directions), batch, hidden))
    lasts = [builder.allocate(x.dtype, (len(directions), batch, hidden)) for _ in initial]
    for d, part in enumerate(directions):
        state = tuple(_initial(builder, node, place, d, (batch, hidden), batch_first) for place in initial)
        from_input = part.from_input(builder, x)
        backwards = d == 1 or node.attributes.get("direction", b"forward") == b"reverse"
        for t in range(steps)[:: -1 if backwards else 1]:
            state = cell(builder, part, from_input.slice(0, t, 1).drop(0), state)
            builder.copy(state[0], sequence.slice(0, t, 1).drop(0).slice(0, d, 1).drop(0))
        for value, last in zip(state, lasts, strict=True):
            builder.copy(value, last.slice(0, d, 1).drop(0))
    if batch_first:
        return [sequence.transpose((2, 0, 1, 3)), *(last.transpose((1, 0, 2)) for last in lasts)]
    return [sequence, *lasts]


def _initial(
    builder: Builder, node: Node, place: int, d: int, shape: tuple[int, int], batch_first: bool
) -> View:
    """The state (B, H) that a direction begins with; zeros when none is given."""
    given = node.optional(place)
    if given is None:
        return builder.constant(np.zeros((), node.view(0).dtype)).expand(shape)
    axis = 1 if batch_first else 0
    return given.slice(axis, d, 1).drop(axis)


def _directions(node: Node, defaults: str) -> list[_Direction]:
    count, rows, _ = node.view(1).shape
    formulas = _formulas(node, defaults.split() * count)
    each = len(formulas) // count
    bias, peepholes = node.optional(3), node.optional(7)

    def row(view: View, d: int) -> View:
        return view.slice(0, d, 1).drop(0)

    return [
        _Direction(
            w=row(node.view(1), d),
            r=row(node.view(2), d),
            w_bias=row(bias, d).slice(0, 0, rows) if bias else None,
            r_bias=row(bias, d).slice(0, rows, rows) if bias else None,
            peepholes=row(peepholes, d) if peepholes else None,
            activations=formulas[d * each : (d + 1) * each],
        )
        for d in range(count)
    ]


def _formulas(node: Node, defaults: Sequence[str]) -> tuple[Formula, ...]:
    """The activation functions; each gets its operand clipped when there is `clip`."""
    names = [name.decode().lower() for name in node.attributes.get("activations", ())] or defaults
    unknown = sorted(set(names) - set(_ACTIVATIONS))
    if unknown:
        raise Untranslatable(
            f"the activation {unknown[0]} in a recurrent operator", f"use one of {', '.join(_ACTIVATIONS)}"
        )
    limit = node.attributes.get("clip", math.inf)
    if math.isinf(limit):
        return tuple(_ACTIVATIONS[name] for name in names)
    return tuple(_clipped(_ACTIVATIONS[name], limit) for name in names)


def _clipped(function: Formula, limit: float) -> Formula:
    return lambda x: function(clamp(x, -limit, limit))


OPERATORS: dict[str, Callable[[Builder, Node], View | list[View]]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN": _rnn,
}
