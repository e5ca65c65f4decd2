"""The streamed module: the same numbers as the module it was made from, one block of frames at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from millstream.streamify.banded import Banded
from millstream.streamify.tick import DRAINED, TICK, Tick, delayed
from millstream.streamify.timing import Series, Summary


@dataclass(frozen=True)
class Output:
    """One result of the module: its name in the step, its timing, and how long it waits beyond that."""

    name: str
    kind: Series | Summary
    wait: int


@dataclass(frozen=True)
class Program:
    """The step as a plan: what it runs, holds and remembers. Counts are in blocks of `block` frames."""

    input: str
    frame: tuple[int, ...]
    dtype: torch.dtype
    operations: Sequence[Callable[[Tick], None]]
    registers: Mapping[str, Tensor]
    outputs: tuple[Output, ...]
    block: int
    time_axis: int
    look_ahead: int
    silence: int
    lead: int
    window: int | None


class Streamed(nn.Module):
    """Made by `streamify`; keeps the protocol of `millstream.protocol`.

    With a block of one frame `forward` takes (B, T, ...) and `step` (B, ...); with a longer block they take
    (B, T, block, ...) and (B, block, ...), because the module strides over time. Results are alike: one
    element a block, or (B, n, ...) where the module gives n. A result that the module gives once for the
    whole sequence comes at every frame, for the frames so far.

    What a module without padding does not give for the last frames is computed with `silence` blocks of
    zeros behind them.
    """

    def __init__(self, module: nn.Module, program: Program, held: Mapping[str, Tensor | str]) -> None:
        super().__init__()
        self.module = module
        self.program = program
        self.look_ahead = program.look_ahead
        self._held: dict[str, str] = {}
        for number, (name, value) in enumerate(held.items()):
            if isinstance(value, str):
                self._held[name] = f"module.{value}"
            else:
                self.register_buffer(f"constant_{number}", value)
                self._held[name] = f"constant_{number}"
        self._clocks: tuple[str, ...] = (TICK, DRAINED)
        self._first = self._begin()

    @property
    def block(self) -> int:
        """Frames that one step takes."""
        return self.program.block

    def facts(self) -> dict[str, int]:
        """What a user should know: look-ahead, frames a step, window; what is 0 or 1 frame is left out."""
        program = self.program
        found = {
            "look-ahead in frames": program.look_ahead * program.block,
            "frames a step": program.block if program.block > 1 else 0,
            "zero frames behind the end": program.silence * program.block,
            "window of attention": program.window or 0,
        }
        return {name: value for name, value in found.items() if value}

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """The state before the first frame."""
        return {name: value.expand(batch, *value.shape[1:]).clone() for name, value in self._first.items()}

    def step(
        self, x: Tensor, state: Mapping[str, Tensor], valid: Tensor | None = None
    ) -> tuple[Any, dict[str, Tensor]]:
        """One block; `valid` says which streams have frames, and is there when there is look-ahead."""
        if not self._first:
            state = {}
        batch = x.shape[0]
        zero = torch.zeros(batch, dtype=torch.int64)
        now, drained = state.get(TICK, zero), state.get(DRAINED, zero)
        if valid is not None and DRAINED in self._clocks:
            drained = drained + torch.logical_not(valid).to(torch.int64)
        silent = (drained - self.program.silence).clamp(min=0)
        tick = self._tick(x, state, now, silent, simulated=False)
        results = self._advance(tick)
        clocks = {TICK: now + 1, DRAINED: drained}
        after = {**tick.after, **{name: clocks[name] for name in self._clocks}}
        return results, after

    def forward(self, x: Tensor) -> Any:
        """Whole sequences through the module itself."""
        program, blocks = self.program, x.shape[1]
        frames = x.flatten(1, 2) if program.block > 1 else x
        if program.silence:
            quiet = torch.zeros_like(frames[:, :1]).expand(
                -1, program.silence * program.block, *frames.shape[2:]
            )
            frames = torch.cat((frames, quiet), 1)
        with Banded(program.window):
            results = self._whole(frames, blocks)
        return results[0] if len(results) == 1 else results

    def _whole(self, frames: Tensor, blocks: int) -> tuple[Tensor, ...]:
        program = self.program
        whole = _tuple(self.module(frames.movedim(1, program.time_axis)))
        found: list[Tensor | None] = [
            _blocked(y, out.kind, frames.shape[0], blocks) if isinstance(out.kind, Series) else None
            for y, out in zip(whole, program.outputs, strict=True)
        ]
        if any(f is None for f in found):
            prefixes = [
                _tuple(self.module(frames[:, : t * program.block].movedim(1, program.time_axis)))
                for t in range(1, blocks + 1)
            ]
            for place, out in enumerate(program.outputs):
                if isinstance(out.kind, Summary):
                    found[place] = torch.stack([_rows(p[place], out.kind.batch) for p in prefixes], 1)
        return tuple(f for f in found if f is not None)

    def _tick(
        self, x: Tensor, state: Mapping[str, Tensor], now: Tensor, drained: Tensor, simulated: bool
    ) -> Tick:
        frames = x if self.program.block > 1 else x[:, None]
        values: dict[str, Any] = {name: self._constant(path) for name, path in self._held.items()}
        values[self.program.input] = frames.movedim(1, self.program.time_axis)
        ahead = self.look_ahead - self.program.silence
        return Tick(values, state, now, drained, ahead, simulated)

    def _constant(self, path: str) -> Tensor:
        found: Any = self
        for part in path.split("."):
            found = getattr(found, part)
        return found

    def _advance(self, tick: Tick) -> Any:
        for operation in self.program.operations:
            operation(tick)
        results = [_result(tick, out) for out in self.program.outputs]
        return results[0] if len(results) == 1 else tuple(results)

    def _begin(self) -> dict[str, Tensor]:
        """The state after the ticks before the first frame, which fill what padding put there."""
        state: dict[str, Tensor] = dict(self.program.registers)
        x = torch.zeros((1, *self.program.frame), dtype=self.program.dtype)
        zero = torch.zeros(1, dtype=torch.int64)
        with torch.no_grad():
            for past in range(self.program.lead, 0, -1):
                tick = self._tick(x, state, zero - past, zero, simulated=True)
                self._advance(tick)
                state = {**state, **tick.after}
            trial = self._tick(x, state, zero, zero, simulated=False)
            self._advance(trial)
        self._clocks = tuple(name for name in (TICK, DRAINED) if name in trial.read)
        kept = {name: value for name, value in state.items() if name in trial.after}
        return {**kept, **dict.fromkeys(self._clocks, zero)}


def _result(tick: Tick, out: Output) -> Tensor:
    """What the step gives for a block: (B, ...), or (B, n, ...)."""
    value = tick.values[out.name]
    if isinstance(out.kind, Summary):
        return _held_back(tick, out, _rows(value, out.kind.batch))
    held = delayed(tick, f"{out.name}.wait", value, out.kind, out.wait)
    placed = _in_front(held, out.kind)
    return placed[:, 0] if out.kind.count == 1 else placed


def _held_back(tick: Tick, out: Output, value: Tensor) -> Tensor:
    """A summary (B, ...) of `wait` ticks ago, so that it belongs to the frame of the other results."""
    if not out.wait:
        return value
    name = f"{out.name}.wait"
    line = torch.cat((tick.state[name], value[:, None]), 1)
    tick.after[name] = line[:, 1:]
    return line[:, 0]


def _in_front(value: Tensor, kind: Series, batch: int | None = None) -> Tensor:
    """The streams, then time, then the rest."""
    rows, time = kind.batch, kind.axis
    if kind.fold != 1:
        sizes = (-1, kind.count) if batch is None else (batch, -1)
        value, rows, time = value.unflatten(kind.axis, sizes), kind.axis, kind.axis + 1
    value = value[None] if rows is None else value.movedim(rows, 0)
    time += 1 if rows is None or rows > time else 0
    return value.movedim(time, 1)


def _blocked(value: Tensor, kind: Series, batch: int, blocks: int) -> Tensor:
    """A whole result as (B, blocks, ...), or (B, blocks, n, ...); what is longer than the frames is cut."""
    placed = _in_front(value, kind, batch)[:, : blocks * kind.count]
    return placed if kind.count == 1 else placed.unflatten(1, (blocks, kind.count))


def _rows(value: Tensor, batch: int | None) -> Tensor:
    return value[None] if batch is None else value.movedim(batch, 0)


def _tuple(y: Any) -> tuple[Tensor, ...]:
    if isinstance(y, Mapping):
        return tuple(y.values())
    return tuple(y) if isinstance(y, (tuple, list)) else (y,)
