"""Which stages of a step can go through many frames at once, and which must go frame by frame.

A stage on a circle of dependencies that passes through a state needs what it gave for the frame before: a
recurrence. Every other stage can be done for all frames together, before or after the recurrences that it
feeds or reads. Where it reads a state without multiplying by weights it gains nothing from that, and goes
with the recurrence while the state is at hand.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millstream_runtime.lanes import loads
from millstream_runtime.program import Program, loaded, stored_into

#: Dependencies: for each stage those whose results it reads, in this frame or from the frame before.
Sources = Sequence[frozenset[int]]


@dataclass(frozen=True)
class Group:
    """Stages by number, in program order. A recurrence goes through them frame by frame."""

    stages: tuple[int, ...]
    is_recurrent: bool


def schedule(program: Program) -> tuple[Group, ...]:
    """All stages once, in groups whose order keeps every dependency over any number of frames."""
    sources = _sources(program)
    circles = _circles(sources)
    owner = {number: circles.get(number, number) for number in range(len(sources))}
    recurrences = set(circles.values())
    for number in range(len(sources)):
        if number not in circles and _reads_states_alone(program, number):
            _join(number, owner, recurrences, sources)
    members: dict[int, list[int]] = {}
    for number in range(len(sources)):
        members.setdefault(owner[number], []).append(number)
    order = _order(owner, sources) or []
    return tuple(Group(tuple(members[group]), group in recurrences) for group in order)


def _sources(program: Program) -> Sources:
    pairs = zip(program.role("state"), program.role("next_state"), strict=True)
    carried = {state.name: after.name for state, after in pairs}
    writers: dict[str, set[int]] = {}
    for number, stage in enumerate(program.stages):
        for name in stored_into(stage):
            writers.setdefault(name, set()).add(number)
    read = ({carried.get(name, name) for name in loaded(stage)} for stage in program.stages)
    return [frozenset().union(*(writers.get(name, ()) for name in names)) for names in read]


def _circles(sources: Sources) -> dict[int, int]:
    """The stages that depend on themselves; those on one circle have one number."""
    behind = [sum(1 << source for source in own) for own in sources]
    while True:
        grown = list(behind)
        for number, own in enumerate(sources):
            for source in own:
                grown[number] |= grown[source]
        if grown == behind:
            break
        behind = grown
    found: dict[int, int] = {}
    for i in range(len(sources)):
        if behind[i] >> i & 1 and i not in found:
            found |= {j: i for j in range(i, len(sources)) if behind[i] >> j & 1 and behind[j] >> i & 1}
    return found


def _reads_states_alone(program: Program, number: int) -> bool:
    """Whether a stage reads a state, or a next one, and shares no weights between frames."""
    stage = program.stages[number]
    states = {buffer.name for role in ("state", "next_state") for buffer in program.role(role)}
    constants = {buffer.name for buffer in program.role("constant")}
    terms = loads(stage.reduction.operand) if stage.reduction else []
    return not states.isdisjoint(loaded(stage)) and not any(t.access.buffer in constants for t in terms)


def _join(number: int, owner: dict[int, int], recurrences: set[int], sources: Sources) -> None:
    """Let a stage go with a recurrence that it reads, where no circle of groups comes of it."""
    for source in sorted(sources[number]):
        if owner[source] in recurrences:
            joined = {**owner, number: owner[source]}
            if _order(joined, sources):
                owner[number] = owner[source]
                return


def _order(owner: Mapping[int, int], sources: Sources) -> list[int] | None:
    """The groups, each after all that it reads and otherwise as in the program; None for a circle of them."""
    needs: dict[int, set[int]] = {group: set() for group in owner.values()}
    for number, own in enumerate(sources):
        needs[owner[number]] |= {owner[source] for source in own} - {owner[number]}
    feeds: dict[int, list[int]] = {group: [] for group in needs}
    for group, before in needs.items():
        for other in before:
            feeds[other].append(group)
    waiting = {group: len(before) for group, before in needs.items()}
    ready, order = [group for group, count in waiting.items() if not count], []
    heapq.heapify(ready)
    while ready:
        order.append(heapq.heappop(ready))
        for group in feeds[order[-1]]:
            waiting[group] -= 1
            if not waiting[group]:
                heapq.heappush(ready, group)
    return order if len(order) == len(needs) else None
