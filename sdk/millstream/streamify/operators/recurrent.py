"""RNN, GRU and LSTM layers: the hidden state is the state, frames outside the sequence leave it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from millstream.streamify.operators.local import local
from millstream.streamify.operators.windows import own_axis
from millstream.streamify.planner import Call, Planner, Withheld
from millstream.streamify.refusal import Stuck, operator
from millstream.streamify.tick import Tick
from millstream.streamify.timing import Constant, Series, Summary

Cell = Callable[[Tensor, list[Tensor], Sequence[Tensor]], list[Tensor]]


def recurrent(planner: Planner, call: Call) -> Any:
    """rnn_tanh, rnn_relu, gru, lstm over the time axis; over another axis it is local.

    Raises Stuck for a bidirectional layer and for an initial state that comes from frames.
    """
    kind = planner.kinds[call["input"].name]
    rank = planner.results[call["input"].name].dim()
    sequence = (1 if call["batch_first"] else 0) if rank == 3 else 0
    if not isinstance(kind, Series) or kind.steady or kind.axis != sequence:
        return local(planner, call)
    own_axis(kind)
    if call["bidirectional"]:
        raise Stuck(
            "a bidirectional layer reads from the end of the sequence",
            "use bidirectional=False, or cut the sequence into windows that wait for their end",
        )
    if rank != 3:
        raise Stuck("a recurrence without batch", "give it (batch, time, features)")
    cell, layers = _CELLS[operator(call.node)], call["num_layers"]
    weights = [planner.constant(node) for node in call["params"]]
    each = len(weights) // layers
    states = _initial(planner, call)
    source, width = call["input"].name, _width(planner, call)

    def run(tick: Tick) -> Any:
        x = tick.values[source]
        x = x if sequence == 1 else x.transpose(0, 1)
        hidden = [tick.state[name] for name in states]
        started, rows = tick.started(kind), []
        for place in range(kind.count):
            use = None if started is None else started[:, place, None]
            y, hidden = _layers(
                cell, x[:, place], hidden, [tick.values[w] for w in weights], each, use, width
            )
            rows.append(y)
        tick.after.update(zip(states, hidden, strict=True))
        out = torch.stack(rows, 1)
        last = [torch.stack([h[:, layer] for layer in range(layers)]) for h in hidden]
        return (out if sequence == 1 else out.transpose(0, 1), *last)

    planner.emit(call.name, run)
    out = Series(sequence, kind.count, kind.offset, kind.delay, batch=kind.batch)
    last: Any = Summary(None if kind.batch is None else 1)
    if kind.delay != -kind.offset:
        last = Withheld("the last state waits for frames that a stream has not seen", "pad on the left alone")
    return (out, *(last for _ in states))


def _initial(planner: Planner, call: Call) -> list[str]:
    """The states, named, each (1, layers, width), with what the layer starts from."""
    given = call["hx"] if isinstance(call["hx"], (list, tuple)) else [call["hx"]]
    names = ["hidden", "cell"][: len(given)]
    for name, node in zip(names, given, strict=True):
        if not isinstance(planner.kinds[node.name], Constant):
            raise Stuck("the initial state depends on the frames", "start from zeros or learned values")
        value = planner.results[node.name]
        planner.remember(f"{call.name}.{name}", value[:, :1].transpose(0, 1).clone())
    return [f"{call.name}.{name}" for name in names]


def _width(planner: Planner, call: Call) -> int:
    """Weights of a layer beside its biases: an LSTM with a projection has three."""
    biases = 2 if call["has_biases"] else 0
    return len(call["params"]) // call["num_layers"] - biases


def _layers(
    cell: Cell,
    x: Tensor,
    hidden: list[Tensor],
    weights: list[Tensor],
    each: int,
    use: Tensor | None,
    matrices: int,
) -> tuple[Tensor, list[Tensor]]:
    """One frame through all layers; `use` says which streams take it."""
    layers = hidden[0].shape[1]
    after: list[list[Tensor]] = []
    for layer in range(layers):
        before = [h[:, layer] for h in hidden]
        own = weights[layer * each : (layer + 1) * each]
        new = cell(x, before, _five(own, matrices))
        if use is not None:
            new = [torch.where(use, a, b) for a, b in zip(new, before, strict=True)]
        after.append(new)
        x = new[0]
    return x, [torch.stack([layer[i] for layer in after], 1) for i in range(len(hidden))]


def _five(own: list[Tensor], matrices: int) -> list[Any]:
    """Input and hidden matrix, their biases or None, the projection or None."""
    biases = own[2 : len(own) - (matrices - 2)] if len(own) > matrices else [None, None]
    projection = own[-1] if matrices == 3 else None
    return [own[0], own[1], *biases, projection]


def _plain(activation: Callable[[Tensor], Tensor]) -> Cell:
    def cell(x: Tensor, hidden: list[Tensor], w: Sequence[Any]) -> list[Tensor]:
        return [activation(functional.linear(x, w[0], w[2]) + functional.linear(hidden[0], w[1], w[3]))]

    return cell


def _gru(x: Tensor, hidden: list[Tensor], w: Sequence[Any]) -> list[Tensor]:
    """torch.nn.GRU: reset and update gates, the candidate's hidden part gated after its matrix."""
    (h,) = hidden
    reset, update, new = functional.linear(x, w[0], w[2]).chunk(3, -1)
    h_reset, h_update, h_new = functional.linear(h, w[1], w[3]).chunk(3, -1)
    candidate = torch.tanh(new + torch.sigmoid(reset + h_reset) * h_new)
    return [candidate + torch.sigmoid(update + h_update) * (h - candidate)]


def _lstm(x: Tensor, hidden: list[Tensor], w: Sequence[Any]) -> list[Tensor]:
    """torch.nn.LSTM, with its projection when there is one."""
    h, c = hidden
    gates = functional.linear(x, w[0], w[2]) + functional.linear(h, w[1], w[3])
    into, forget, candidate, out = gates.chunk(4, -1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(into) * torch.tanh(candidate)
    h = torch.sigmoid(out) * torch.tanh(c)
    return [h if w[4] is None else functional.linear(h, w[4]), c]


_CELLS: dict[str, Cell] = {
    "rnn_tanh": _plain(torch.tanh),
    "rnn_relu": _plain(torch.relu),
    "gru": _gru,
    "lstm": _lstm,
}
