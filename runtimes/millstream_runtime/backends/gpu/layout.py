"""`layout.json` of a target for GPUs: what its kernels take, and the ways to run a step with them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from millstream_runtime.backends.callers import dump_callers, is_size, layout_invalid, read_callers
from millstream_runtime.backends.gpu.device import Memory
from millstream_runtime.program import Buffer

#: What a kernel may take beside the buffers of the caller.
WEIGHTS, SCRATCH = "weights", "scratch"
_MOST_THREADS, _MOST_STREAMS = 1024, 1024


@dataclass(frozen=True)
class Launch:
    """A kernel, launched for each tile of `streams` streams with `columns` blocks of `threads` threads, each
    with `shared_bytes` of shared memory.

    It takes the arrays of those names, then the numbers.
    """

    kernel: str
    streams: int
    threads: int
    columns: int
    shared_bytes: int
    arrays: tuple[str, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Way:
    """A step as launches, one after the other; the way to go for at least `least` streams."""

    least: int
    launches: tuple[Launch, ...]


@dataclass(frozen=True)
class Prefill:
    """Several frames of one stream as launches, one after the other.

    Memory has a row for each frame where that of a step has one for each stream. What is named after a state
    is its history, one row more: a state lies in the row of the frame that finds it, and the frame leaves the
    next one in the row behind.
    """

    frames: int
    scratch_bytes: int
    launches: tuple[Launch, ...]


@dataclass(frozen=True)
class Layout:
    """The caller's buffers in order, the bytes of scratch of one stream, and every way to run the step.

    Where frames of one stream are better done together, `prefill` says how.
    """

    callers: tuple[Buffer, ...]
    scratch_bytes: int
    weight_bytes: int
    ways: tuple[Way, ...]
    prefill: Prefill | None = None

    @property
    def launches(self) -> Iterator[Launch]:
        """Every launch of every way."""
        for way in self.ways:
            yield from way.launches
        if self.prefill:
            yield from self.prefill.launches

    def role(self, role: str) -> tuple[Buffer, ...]:
        """The caller's buffers of one role, in order."""
        return tuple(buffer for buffer in self.callers if buffer.role == role)

    def turned(self, memory: Mapping[str, Memory]) -> dict[str, Memory]:
        """Memory by name, the states before a step and those behind it in each other's place."""
        turned = dict(memory)
        for before, behind in zip(self.role("state"), self.role("next_state"), strict=True):
            turned[before.name], turned[behind.name] = memory[behind.name], memory[before.name]
        return turned


def rows_of(way: Way, streams: int) -> int:
    """Streams that there is memory for: whole tiles."""
    tile = max(launch.streams for launch in way.launches)
    return -(-streams // tile) * tile


def way_for(layout: Layout, streams: int) -> Way:
    """The way to step so many streams: of those for no more the one for most."""
    fits = [way for way in layout.ways if way.least <= streams]
    return max(fits, key=lambda way: way.least)


def dump(layout: Layout) -> bytes:
    """The file."""
    document = {**asdict(layout), "callers": dump_callers(layout.callers)}
    return json.dumps(document, separators=(",", ":")).encode()


def load(data: bytes) -> Layout:
    """Check and read the file. Raises PlanInvalid."""
    try:
        document = json.loads(data)
        callers = read_callers(document["callers"])
        ways = tuple(_way(way) for way in document["ways"])
        # Bundles from before there was any have none.
        prefill = _prefill(document["prefill"]) if document.get("prefill") else None
        layout = Layout(callers, document["scratch_bytes"], document["weight_bytes"], ways, prefill)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise layout_invalid("the layout cannot be read", str(error)) from error
    _check(layout)
    return layout


def _way(way: Mapping[str, Any]) -> Way:
    return Way(way["least"], _launches(way))


def _prefill(prefill: Mapping[str, Any]) -> Prefill:
    return Prefill(prefill["frames"], prefill["scratch_bytes"], _launches(prefill))


def _launches(way: Mapping[str, Any]) -> tuple[Launch, ...]:
    return tuple(
        Launch(
            each["kernel"],
            each["streams"],
            each["threads"],
            each["columns"],
            each["shared_bytes"],
            tuple(each["arrays"]),
            tuple(each["numbers"]),
        )
        for each in way["launches"]
    )


def _check(layout: Layout) -> None:
    if (
        not any(way.least <= 1 for way in layout.ways)
        or not is_size(layout.scratch_bytes)
        or not is_size(layout.weight_bytes)
    ):
        raise layout_invalid("sizes are missing, or a way to run the step for one stream", "")
    names = {WEIGHTS, SCRATCH, *(buffer.name for buffer in layout.callers)}
    for way in layout.ways:
        if not is_size(way.least) or not way.launches:
            raise layout_invalid("a way to run the step makes no sense", repr(way.least))
        for launch in way.launches:
            _check_launch(launch, names)
    if layout.prefill:
        _check_prefill(layout.prefill, names - {buffer.name for buffer in layout.role("next_state")})


def _check_prefill(prefill: Prefill, names: Collection[str]) -> None:
    """Blocks must serve whole tiles of frames: there is memory for no more."""
    for launch in prefill.launches:
        _check_launch(launch, names)
    sizes = is_size(prefill.frames) and is_size(prefill.scratch_bytes) and prefill.frames > 0
    if not sizes or not prefill.launches or any(prefill.frames % each.streams for each in prefill.launches):
        raise layout_invalid("frames together make no sense", repr(prefill.frames))


def _check_launch(launch: Launch, names: Collection[str]) -> None:
    sizes = (launch.columns, launch.shared_bytes, *launch.numbers)
    known = isinstance(launch.kernel, str) and set(launch.arrays) <= set(names)
    tile = _is_power(launch.streams, _MOST_STREAMS) and _is_power(launch.threads, _MOST_THREADS)
    if not known or not tile or not all(map(is_size, sizes)) or launch.columns < 1:
        raise layout_invalid("a launch makes no sense", repr(launch))


def _is_power(value: object, most: int) -> bool:
    """Whether it is a power of two, no larger than `most`."""
    return type(value) is int and 0 < value <= most and value & (value - 1) == 0
