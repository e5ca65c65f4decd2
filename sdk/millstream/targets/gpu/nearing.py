"""Stages near those that they take from or give to, so that fewer values wait in memory.

Large products cut a step (`cutting.py`). What none of them needs, as rounding states behind all else, comes
right behind what it is made of; what needs none, as floats of states in integers before all else, waits until
right before its first use.

A rewrite from program to program; each stage stays behind those that write what it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from millstream.targets.gpu.cutting import is_large
from millstream_runtime.arena import place_scratch
from millstream_runtime.program import Program, Stage, loaded, stored_into

#: For each stage others by number.
_Edges = Sequence[set[int]]


def near(program: Program) -> Program:
    """The program with its stages in another order, and its scratch laid out for that."""
    stages, numbers = program.stages, range(len(program.stages))
    large = [is_large(stage, program) for stage in stages]
    sources = _sources(stages)
    users = [{user for user in numbers if number in sources[user]} for number in numbers]
    needing, needed = _reached(numbers, sources, large), _reached(reversed(numbers), users, large)
    # Large products have odd places, what lies between two of them the even one.
    place = [2 * sum(large[:number]) + large[number] for number in numbers]
    for number in numbers:
        # What neither takes from a product nor gives to any stage may stay where it is.
        if number not in needed and (number in needing or users[number]):
            place[number] = max((place[source] + large[source] for source in sources[number]), default=0)
    for number in reversed(numbers):
        if number not in needing and users[number]:
            place[number] = min(place[user] - large[user] for user in users[number])
    order = sorted(numbers, key=lambda number: place[number])
    return place_scratch(replace(program, stages=tuple(stages[number] for number in order)))


def _sources(stages: Sequence[Stage]) -> _Edges:
    """The stages that write what a stage reads."""
    writers: dict[str, set[int]] = {}
    found = []
    for number, stage in enumerate(stages):
        found.append({writer for name in loaded(stage) for writer in writers.get(name, ())})
        for name in stored_into(stage):
            writers.setdefault(name, set()).add(number)
    return found


def _reached(numbers: Iterable[int], edges: _Edges, large: Sequence[bool]) -> set[int]:
    """The large products, and the stages that reach one along edges; `numbers` begin at the edges' ends."""
    found: set[int] = set()
    for number in numbers:
        if large[number] or not found.isdisjoint(edges[number]):
            found.add(number)
    return found
