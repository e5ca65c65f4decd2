"""The arguments of an operator in a step: sizes that grow with the sequence become those of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import fx

from millstream.streamify.refusal import Stuck
from millstream.streamify.tick import Tick
from millstream.streamify.tracing import Traces

_WHOLE = "do not compute with the number of frames: a stream has no end"


@dataclass(frozen=True)
class Value:
    """An argument that is a value of the step."""

    name: str


@dataclass(frozen=True)
class Size:
    """A size of `count` for each stream of the batch when `batched`, else for all."""

    count: int
    batched: bool


def leaves(node: fx.Node) -> Iterator[fx.Node]:
    """The nodes that a node reads."""
    yield from node.all_input_nodes


def bound(
    twins: Sequence[fx.Node], traces: Traces, block: int, resolve: Callable[[fx.Node], str]
) -> tuple[Any, Any]:
    """Positional and named arguments with nodes as Value and growing sizes as Size. Raises Stuck."""

    def visit(a: Any, b: Any, c: Any) -> Any:
        if isinstance(a, fx.Node):
            return Value(resolve(a))
        if isinstance(a, (list, tuple)):
            return [visit(*items) for items in zip(a, b, c, strict=True)]
        if a == b == c or (a != a):
            return a
        if isinstance(a, int) and isinstance(b, int) and isinstance(c, int):
            return _size(a, b, c, traces, block)
        raise Stuck(f"a number that depends on the length of the sequence: {a} and {b}", _WHOLE)

    def all_of(items: Sequence[Any]) -> Any:
        return visit(*items)

    args = [all_of(items) for items in zip(*(node.args for node in twins), strict=True)]
    kwargs = {name: all_of([node.kwargs[name] for node in twins]) for name in twins[0].kwargs}
    return args, kwargs


def _size(short: int, long: int, other: int, traces: Traces, block: int) -> Size | int:
    count = traces.time_slope(short, long) * block if short != long else Fraction(short)
    if short == other:
        batched = False
    elif Fraction(other, short) == Fraction(traces.batches[1], traces.batches[0]):
        batched, count = True, count / traces.batches[0]
    else:
        raise Stuck("a size that mixes batch and time", "keep the batch one axis of its own")
    if count.denominator != 1:
        raise Stuck("a size that does not divide", "use lengths that strides divide")
    return Size(int(count), batched) if batched else int(count)


def bind(arguments: Any, tick: Tick, values: Mapping[str, Any], batch: Any) -> Any:
    """The arguments with values and sizes in place."""
    if isinstance(arguments, Value):
        return values[arguments.name]
    if isinstance(arguments, Size):
        return arguments.count * batch if arguments.batched else arguments.count
    if isinstance(arguments, list):
        return [bind(item, tick, values, batch) for item in arguments]
    if isinstance(arguments, dict):
        return {name: bind(item, tick, values, batch) for name, item in arguments.items()}
    return arguments
