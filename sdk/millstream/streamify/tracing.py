"""Three static traces of a module: what differs between them is time, or the batch.

Two lengths T tell the time axis of every value and its rate; two batches tell the axis of the streams. An
integer in an argument (a size in `view`, an end in `slice`) is told apart in the same way.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from millstream.errors import MutatedBuffer, TraceFailed
from millstream.protocol import attributes_of, outputs_of, same_attribute
from millstream.streamify.refusal import Refusal, operator, refused, where
from millstream.streamify.whole import Whole
from millstream.trace import quiet
from millstream.user_code import guarded, raised_at, reason

#: Two primes, so that a multiple of the batch shows as such.
_BATCHES = (3, 5)
#: Lengths are multiples of one of these; together they divide by the usual strides and hops.
_UNITS = (60, 64, 960, 1024, 4096)


@dataclass(frozen=True)
class Traces:
    """The graph of the module at (batch, length), (batch, longer) and (other batch, length)."""

    graphs: tuple[fx.Graph, fx.Graph, fx.Graph]
    lengths: tuple[int, int]
    batches: tuple[int, int]
    tensors: Mapping[str, Tensor]
    paths: Mapping[str, str]
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]

    @property
    def nodes(self) -> list[fx.Node]:
        """The nodes of the first trace."""
        return list(self.graphs[0].nodes)

    def twins(self) -> Iterator[tuple[fx.Node, fx.Node, fx.Node]]:
        """The same node in all traces."""
        return zip(*(graph.nodes for graph in self.graphs), strict=True)

    @property
    def batched(self) -> bool:
        """Whether streams can be told apart."""
        return self.batches[0] != self.batches[1]

    def time_slope(self, short: float, long: float) -> Fraction:
        """How much a size grows with a frame."""
        return Fraction(int(long) - int(short), self.lengths[1] - self.lengths[0])


def traced(module: nn.Module, example: np.ndarray, time_axis: int, unit: int) -> Traces:
    """Trace `module` for inputs like `example`, (N, ...) as it takes them, at lengths that `unit` divides.

    Raises TraceFailed, MutatedBuffer when the module keeps state in itself, UnsupportedModel for a loop
    over frames.
    """
    module = copy.deepcopy(module).eval().requires_grad_(False)
    lengths = (2 * unit, 3 * unit)
    inputs = [
        _example(example, b, t, time_axis)
        for b, t in ((_BATCHES[0], lengths[0]), (_BATCHES[0], lengths[1]), (_BATCHES[1], lengths[0]))
    ]
    batches = _BATCHES
    with _whole_operators():
        _refuse_hidden_state(module, inputs[0][:1])
        try:
            programs = [_program(module, x) for x in inputs[:2]]
        except TraceFailed:
            # Some modules are written for one stream.
            inputs, batches = [x[:1] for x in inputs], (1, 1)
            programs = [_program(module, x) for x in inputs[:2]]
        _refuse_sizes_of_values(programs[0].graph)
        _refuse_loops([program.graph for program in programs])
        try:
            programs.append(_program(module, inputs[2]))
        except TraceFailed:
            inputs, batches = [x[:1] for x in inputs], (1, 1)
            programs = [_program(module, x) for x in inputs]
    graphs = tuple(program.graph for program in programs)
    outputs = tuple(str(name) for name in programs[0].graph_signature.user_outputs)
    signature = programs[0].graph_signature
    paths = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    held = _tensors(programs[0])
    return Traces(graphs, lengths, batches, held, paths, tuple(inputs), outputs)  # type: ignore[arg-type]


def units() -> tuple[int, ...]:
    """Units to try, from quick to thorough."""
    return _UNITS


def _example(example: np.ndarray, batch: int, length: int, axis: int) -> Tensor:
    """Real frames repeated to the length, rolled from stream to stream so that no two are alike."""
    whole = torch.tensor(example)
    repeats = [1] * whole.dim()
    repeats[axis] = -(-(length + batch) // whole.shape[axis])
    long = whole[:1].repeat(*repeats)
    return torch.cat([long.narrow(axis, shift, length) for shift in range(batch)])


def _program(module: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    def export() -> torch.export.ExportedProgram:
        with Whole():
            return torch.export.export(copy.deepcopy(module), (x,)).run_decompositions({})

    program = guarded(
        export,
        lambda error: TraceFailed(
            "the module cannot be traced",
            where=raised_at(error),
            why=reason(error),
            fix="a branch on the values of frames cannot be a step: compute both sides and choose with "
            "torch.where; keep state out of lists and attributes; or write step(x, state) yourself",
        ),
    )
    mutated = program.graph_signature.buffers_to_mutate
    if mutated:
        raise _mutated(sorted(mutated.values()))
    return program


def _mutated(names: list[str]) -> MutatedBuffer:
    return MutatedBuffer(
        f"forward changes {', '.join(names)} of the module",
        where=", ".join(names),
        why="what the module keeps in itself between calls would be frozen or shared between streams",
        fix="compute it from the frames in forward, or write step(x, state) and return it as state",
    )


def _refuse_hidden_state(module: nn.Module, x: Tensor) -> None:
    """Run the module twice on a copy and see whether it changed, or answered differently."""
    trial = copy.deepcopy(module)

    def run() -> None:
        first = trial(x.clone())
        before = attributes_of(trial)
        second = trial(x.clone())
        after = attributes_of(trial)
        names = {*before, *after}
        changed = sorted(n for n in names if not same_attribute(before.get(n), after.get(n)))
        if changed:
            raise _mutated(changed)
        pairs = zip(outputs_of(first), outputs_of(second), strict=True)
        if not all(same_attribute(a, b) for a, b in pairs):
            raise MutatedBuffer(
                "the module answers the same frames differently the second time",
                why="it draws random numbers, or keeps state where it cannot be seen",
                fix="switch the noise off in evaluation mode; return state from step(x, state)",
            )

    guarded(
        run,
        lambda error: TraceFailed(
            f"the module raised on frames of shape {tuple(x.shape)}, {x.dtype}",
            where=raised_at(error),
            why=reason(error),
            fix="give example frames as forward takes them, and the axis of time: time_axis (--time-axis)",
        ),
    )


def _refuse_sizes_of_values(graph: fx.Graph) -> None:
    """A result whose size depends on values, such as the frames that a mask selects, has no fixed rate."""
    found = [node for node in graph.nodes if any(_is_unsized(value) for value in _flat(node.meta.get("val")))]
    if found:
        why = "how many results it gives depends on the values of the frames"
        fix = "keep every frame and set the others to zero with torch.where"
        raise refused([Refusal(operator(node), where(node), why, fix) for node in found[:1]])


def _is_unsized(value: Any) -> bool:
    return isinstance(value, Tensor) and not all(isinstance(size, int) for size in value.shape)


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _refuse_loops(graphs: list[fx.Graph]) -> None:
    """A graph that grows with the sequence was unrolled by a Python loop."""
    calls = [[node for node in graph.nodes if node.op == "call_function"] for graph in graphs]
    short, long = calls
    if [str(n.target) for n in long] == [str(n.target) for n in short]:
        return
    pairs = zip(short, long, strict=False)
    first = next((b for a, b in pairs if str(a.target) != str(b.target)), long[len(short) - 1])
    why = f"the traced graph has {len(short)} operators for a short sequence and {len(long)} for a long one"
    fix = "write the body of the loop as step(x, state), which needs no conversion at all"
    raise refused([Refusal("a Python loop over the frames", where(first), why, fix)])


def _tensors(program: torch.export.ExportedProgram) -> dict[str, Tensor]:
    """What each placeholder but the input holds: parameters, buffers and constants."""
    signature = program.graph_signature
    named = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    held: dict[str, Any] = {**program.constants, **program.state_dict}
    return {place: held[name].detach() for place, name in named.items()}


@contextlib.contextmanager
def _whole_operators() -> Iterator[None]:
    """Keep torch from taking a fused path for a transformer layer, and its chatter off the terminal."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with quiet(), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
