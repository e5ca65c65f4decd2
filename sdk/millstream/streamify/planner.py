"""The plan of a step: one operation per node of the graph, in order, each by the rule of its operator."""

from __future__ import annotations

import operator as python_operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import Any

import torch
from torch import Tensor, fx

from millstream.streamify import arguments
from millstream.streamify.arguments import leaves
from millstream.streamify.refusal import Refusal, Stuck, Uneven, operator, where
from millstream.streamify.tick import Tick, delayed
from millstream.streamify.timing import Constant, Kind, Series, Summary, Unknown
from millstream.streamify.tracing import Traces

Run = Callable[[Tick], Any]


@dataclass(frozen=True)
class Withheld:
    """A result that the step cannot give; asking for it is refused with the reason."""

    why: str
    fix: str


@dataclass(frozen=True)
class Register:
    """A state before the first tick of all: one stream, (1, ...)."""

    name: str
    value: Tensor


@dataclass(frozen=True)
class Call:
    """A node in all traces, with its operator's arguments by name."""

    node: fx.Node
    twins: tuple[fx.Node, fx.Node, fx.Node]
    named: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.node.name

    def __getitem__(self, name: str) -> Any:
        return self.named[name]


@dataclass(frozen=True)
class Shapes:
    """The sizes of a value in the three traces, and its dtype."""

    short: tuple[int, ...]
    long: tuple[int, ...]
    other: tuple[int, ...]
    dtype: torch.dtype

    @property
    def time_axes(self) -> list[int]:
        return [i for i, (a, b) in enumerate(zip(self.short, self.long, strict=True)) if a != b]

    @property
    def batch_axes(self) -> list[int]:
        return [i for i, (a, b) in enumerate(zip(self.short, self.other, strict=True)) if a != b]


@dataclass
class Planner:
    """Goes through the graph once; `operations` are what the step runs, `registers` what it remembers."""

    traces: Traces
    block: int
    window: int | None
    results: Mapping[str, Any]
    longer: Mapping[str, Any]
    kinds: dict[str, Any] = field(default_factory=dict)
    operations: list[Run] = field(default_factory=list)
    registers: dict[str, Register] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    batched: set[str] = field(default_factory=set)
    _delayed: dict[tuple[str, int], str] = field(default_factory=dict)

    def run(self, rules: Mapping[str, Callable[[Planner, Call], Kind]], local: Callable) -> None:
        """Plan every node; what cannot stream is collected in `refusals`. Raises Uneven."""
        for twins in self.traces.twins():
            node = twins[0]
            if node.op == "placeholder":
                held = node.name in self.traces.tensors
                self.kinds[node.name] = Constant() if held else self.series(shapes(twins))
            elif node.op == "call_function" and node.meta.get("val") is not None:
                self.kinds[node.name] = self._planned(twins, rules, local)

    def _planned(self, twins: Any, rules: Mapping[str, Any], local: Callable) -> Any:
        node = twins[0]
        if any(isinstance(self.kinds[each.name], Unknown) for each in leaves(node)):
            return Unknown()
        try:
            if node.target is python_operator.getitem:
                return self._item(node)
            self._refuse_withheld(node)
            call = Call(node, twins, named_arguments(node))
            return rules.get(operator(node), local)(self, call)
        except Stuck as stuck:
            self.refusals.append(Refusal(operator(node), where(node), stuck.why, stuck.fix))
            return self._as_if_local(twins)

    def _as_if_local(self, twins: Any) -> Any:
        """The kind that a refused operator's result would have, so that what follows is looked at as well."""
        values = [node.meta["val"] for node in twins]
        if isinstance(values[0], (tuple, list)):
            return tuple(self._guess(list(items)) for items in zip(*values, strict=True))
        return self._guess(values)

    def _guess(self, values: list[Any]) -> Any:
        if not hasattr(values[0], "shape") or values[0].is_complex() or len(shapes_of(values).time_axes) != 1:
            return Unknown()
        try:
            return self.series(shapes_of(values))
        except (Stuck, Uneven):
            return Unknown()

    def _item(self, node: fx.Node) -> Any:
        (whole,), place = node.all_input_nodes, node.args[1]
        kind, source = self.kinds[whole.name], whole.name
        if isinstance(kind, tuple):
            self.emit(node.name, lambda tick: tick.values[source][place])
            return kind[place]  # type: ignore[index]
        return kind

    def _refuse_withheld(self, node: fx.Node) -> None:
        for each in leaves(node):
            kind = self.kinds[each.name]
            if isinstance(kind, Withheld):
                raise Stuck(kind.why, kind.fix)

    # What rules use.

    def emit(self, name: str, run: Run) -> None:
        """The step computes the value `name` with `run`."""

        def operation(tick: Tick) -> None:
            tick.values[name] = run(tick)

        self.operations.append(operation)

    def remember(self, name: str, value: Tensor) -> str:
        """A state of that name, given for one stream (1, ...); the name to find it by."""
        self.registers[name] = Register(name, value)
        return name

    def constant(self, node: fx.Node) -> str:
        """The name of a value that depends on no frame."""
        if node.name not in self.traces.tensors and node.name not in self.batched:
            self.constants[node.name] = self.results[node.name]
        return node.name

    def arguments(self, call: Call, names: Mapping[str, str]) -> tuple[Any, Any]:
        """The arguments of a call in a step; `names` says which value stands for a node. Raises Stuck."""

        def resolve(node: fx.Node) -> str:
            if node.name in names:
                return names[node.name]
            return self.constant(node) if isinstance(self.kinds[node.name], Constant) else node.name

        return arguments.bound(call.twins, self.traces, self.block, resolve)

    def ring(self, name: str, source: str, series: Series, past: int) -> str:
        """A state for the last `past` elements of the value `source`. Raises Stuck."""
        if past <= 0:
            return name
        value = self.results[source.partition("@")[0]]
        sizes = list(value.shape)
        if series.fold != 1:
            if series.fold != self.traces.batches[0]:
                raise Stuck(
                    "rows other than the streams are merged into the time axis, and it must be delayed",
                    "keep time an axis of its own where a module looks at several frames",
                )
            sizes[series.axis : series.axis + 1] = [self.traces.batches[0], past]
            return self.remember(name, _one_stream(sizes, series.axis, value.dtype))
        sizes[series.axis] = past
        if series.clock:
            sizes = [1, *(1 if i == series.batch else size for i, size in enumerate(sizes))]
            return self.remember(name, torch.zeros(sizes, dtype=value.dtype))
        return self.remember(name, _one_stream(sizes, series.batch, value.dtype))

    def at(self, name: str, series: Series, delay: int) -> str:
        """The name of the value when it is held back to `delay`; a delay line is put in where needed."""
        by = delay - series.delay
        if by == 0 or series.steady:
            return name
        key = (name, delay)
        if key not in self._delayed:
            later = f"{name}@{delay}"
            state = self.ring(f"{name}.delay{by}", name, series, by)
            self.emit(later, lambda tick: delayed(tick, state, tick.values[name], series, by))
            self._delayed[key] = later
        return self._delayed[key]

    def series(self, found: Shapes, fold: int = 1) -> Series:
        """The timing of a value that starts with frame 0 and waits for nothing. Raises Uneven, Stuck."""
        (axis,) = found.time_axes
        rate = self.traces.time_slope(found.short[axis], found.long[axis]) / fold
        count = rate * self.block
        offset = Fraction(found.short[axis], fold) - rate * self.traces.lengths[0]
        if count.denominator != 1 or offset.denominator != 1:
            raise Uneven
        return Series(axis, int(count), int(offset), 0, fold, batch_axis(found, axis))


def batch_axis(found: Shapes, time: int | None) -> int | None:
    """The axis of the streams. Raises Stuck when there are several."""
    axes = [axis for axis in found.batch_axes if axis != time]
    if len(axes) > 1:
        raise Stuck("the streams of the batch see each other", "keep the batch one axis of its own")
    return axes[0] if axes else None


def summary_of(found: Shapes) -> Summary:
    """The kind of a value without a time axis."""
    return Summary(batch_axis(found, None))


def shapes(twins: Sequence[fx.Node]) -> Shapes:
    """The sizes of a node with one result."""
    return shapes_of([node.meta["val"] for node in twins])


def shapes_of(values: Sequence[Any]) -> Shapes:
    """The sizes of one value in the three traces."""
    first = values[0]
    return Shapes(*(tuple(int(s) for s in v.shape) for v in values), first.dtype)  # type: ignore[arg-type]


def named_arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments of an ATen call by the names of its schema, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return dict(node.kwargs)
    found: dict[str, Any] = {}
    for place, argument in enumerate(schema.arguments):
        if place < len(node.args):
            found[argument.name] = node.args[place]
        elif argument.name in node.kwargs:
            found[argument.name] = node.kwargs[argument.name]
        else:
            found[argument.name] = argument.default_value
    return found


def block_of(traces: Traces) -> int:
    """Frames a step takes: the fewest for which every value has a whole number of elements."""
    block = 1
    for twins in traces.twins():
        for short, long in zip(*(tensors(node) for node in twins[:2]), strict=True):
            for a, b in zip(short.shape, long.shape, strict=True):
                block = lcm(block, traces.time_slope(a, b).denominator)
    return block


def tensors(node: fx.Node) -> list[Any]:
    """The results of a node that are tensors."""
    value = node.meta.get("val")
    items = value if isinstance(value, (tuple, list)) else (value,)
    return [item for item in items if hasattr(item, "shape")]


def _one_stream(sizes: Sequence[int], batch: int | None, dtype: torch.dtype) -> Tensor:
    """Zeros in the layout of a state, for one stream."""
    rest = [size for axis, size in enumerate(sizes) if axis != batch]
    return torch.zeros([1, *rest], dtype=dtype)
