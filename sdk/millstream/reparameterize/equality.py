"""Whether two forms of a model give the same numbers: every output, whole and streamed, on real frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from millstream.protocol import Streamable, outputs_of
from millstream.sequences import Sequences

#: A fold sums in another order and rounds its weights once more, each by 6e-8; a wrong one is off by 1e-2.
BOUND = 1e-5

_SEQUENCES = 2
_LONGEST = 33
_LENGTHS = (1, 2)
_ROWS = 8


def outputs(source: Streamable, data: Sequences) -> list[Tensor]:
    """Every output of `runs`, in order."""
    found: list[Tensor] = []
    runs(source, data, lambda result: found.extend(outputs_of(result)))
    return found


def runs(source: Streamable, data: Sequences, leave: Callable[[object], None]) -> None:
    """Whole sequences cut to several lengths, odd ones among them, and the same frame by frame.

    A stateless model takes several frames in one batch. `leave` is given every output, not the states.
    """
    with torch.no_grad():
        if not source.stateful:
            leave(source.module(torch.cat([torch.tensor(f) for f in data.frames[:_ROWS]])))
            return
        for frames in _cut(data):
            for length in sorted({min(n, len(frames)) for n in (*_LENGTHS, len(frames))}):
                leave(source.module(frames[None, :length]))
            for y in streamed(source, frames):
                leave(y)


def streamed(source: Streamable, frames: Tensor) -> Iterator[object]:
    """The outputs of every frame of (T, ...), one tick at a time, the look-ahead drained."""
    state = source.initial_state(1)
    for t in range(len(frames) + source.look_ahead):
        real = t < len(frames)
        y, state = source.step(frames[t : t + 1] if real else torch.zeros_like(frames[:1]), state, valid=real)
        if t >= source.look_ahead:
            yield y


def relative_error(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """The largest difference of any output, relative to the largest magnitude of that output over all runs.

    Infinite where the forms differ in count, shape or dtype, or where only one of them is not finite.
    """
    if [(y.shape, y.dtype) for y in got] != [(y.shape, y.dtype) for y in want]:
        return float("inf")
    worst, largest = 0.0, 0.0
    for mine, theirs in zip(got, want, strict=True):
        a, b = mine.double(), theirs.double()
        same = (a == b) | (a.isnan() & b.isnan())
        difference = torch.where(same, 0.0, (a - b).abs())
        if not difference.isfinite().all():
            return float("inf")
        finite = b[b.isfinite()]
        worst = max(worst, float(difference.max()) if difference.numel() else 0.0)
        largest = max(largest, float(finite.abs().max()) if finite.numel() else 0.0)
    return worst / largest if largest else worst


def _cut(data: Sequences) -> list[Tensor]:
    return [torch.tensor(frames[:_LONGEST]) for frames in data.frames[:_SEQUENCES]]
