"""Binary points from measured ranges: how many fraction bits each activation of a step gets.

Values that only move (a slice, a reshape) share the binary point of where they come from, and a state that of
the next state that it becomes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from millstream.errors import DataInvalid
from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration, observed, stream
from millstream.quantize.recurrence import LONG, without_reset

#: Operators that move values and compute none.
MOVES = ("Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
#: Frames of the example that are looked at, each sequence from the initial state.
TICKS = 2048
#: Room above the largest value that was seen: saturation must stay rare on frames that were not.
HEADROOM = 1.5
#: A value whose range is this small counts as 0; more fraction bits would serve nobody.
MOST_FRACTION = 24


def fraction_bits(largest: float, bits: int) -> int:
    """The most fraction bits with which a signed integer of `bits` bits holds every |value| <= largest."""
    if largest <= 0:
        return bits - 1
    most = (1 << (bits - 1)) - 1
    return min(math.floor(math.log2(most / largest)), MOST_FRACTION)


def measured(
    graph: StepGraph, names: Sequence[str], calibration: Calibration
) -> dict[str, tuple[float, float]]:
    """The smallest and the largest value of each tensor over the example, and over one long stream without
    reset.

    Raises DataInvalid when one is not finite.
    """
    found = dict.fromkeys(names, (math.inf, -math.inf))
    looked_at = observed(graph, names)
    for some, ticks in ((calibration, TICKS), (without_reset(calibration), LONG)):
        for values in stream(looked_at, some, ticks):
            for name in names:
                array = values[name]
                lowest, highest = found[name]
                found[name] = (min(lowest, float(array.min())), max(highest, float(array.max())))
    endless = [name for name, bounds in found.items() if not all(map(math.isfinite, bounds))]
    if endless:
        raise DataInvalid(
            "values leave every range while the example streams",
            where=", ".join(endless[:5]),
            why="a state grows without end, or the example holds NaN or infinity",
            fix="make the recurrence stable: fixed point needs bounded states",
        )
    return found


def shared(graph: StepGraph, nodes: Sequence[onnx.NodeProto]) -> Mapping[str, str]:
    """Each tensor's representative: tensors with the same one share a binary point."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for node in nodes:
        if node.op_type in MOVES:
            for name in node.output:
                parent[root(name)] = root(node.input[0])
    for pair in graph.states:
        parent[root(pair.next_name)] = root(pair.name)
    return {name: root(name) for name in tuple(parent)}


def binary(
    graph: StepGraph, nodes: Sequence[onnx.NodeProto], groups: Mapping[str, str], calibration: Calibration
) -> set[str]:
    """The representatives of tensors that are only ever 0 or 1: spikes, what moves or joins them, and states
    that keep them."""
    initial = zip(graph.states, calibration.initial, strict=True)
    others = {value.name for value in graph.model.graph.input} - {pair.name for pair in graph.states}
    others |= {pair.name for pair, value in initial if np.any((value != 0) & (value != 1))}
    joins = []
    for node in nodes:
        if node.op_type == "Concat":
            joins.append(node)
        elif node.op_type not in (*MOVES, "Cast"):
            others.update(node.output)
    known = {name for node in nodes for name in node.output} | {pair.name for pair in graph.states}
    found = {group(groups, name) for name in known} - {group(groups, name) for name in others}
    while mixed := [node for node in joins if group(groups, node.output[0]) in found
                    and any(group(groups, name) not in found for name in node.input)]:  # fmt: skip
        found -= {group(groups, node.output[0]) for node in mixed}
    return found


def group(groups: Mapping[str, str], name: str) -> str:
    """The representative of a value's group; the value itself when it stands alone."""
    return groups.get(name, name)


@dataclass(frozen=True)
class Ranges:
    """The largest |value| of each group of values that share a binary point, and the group of each value.

    `whole` are the groups that are only ever 0 or 1, `positive` the values that were above 0 wherever they
    were seen.
    """

    largest: Mapping[str, float]
    groups: Mapping[str, str]
    whole: frozenset[str]
    positive: frozenset[str]

    def group(self, name: str) -> str:
        """The representative of a value's group; the value itself when it stands alone."""
        return group(self.groups, name)

    def fraction(self, name: str, bits: int) -> int:
        """The fraction bits of a value that has so many bits, headroom left: none for what is 0 or 1."""
        own = self.group(name)
        return 0 if own in self.whole else fraction_bits(HEADROOM * self.largest[own], bits)


def ranges(
    graph: StepGraph, nodes: Sequence[onnx.NodeProto], names: Sequence[str], calibration: Calibration
) -> Ranges:
    """The ranges of every named tensor of the graph. Raises DataInvalid."""
    found = measured(graph, names, calibration)
    groups = shared(graph, nodes)
    whole = binary(graph, nodes, groups, calibration)
    most: dict[str, float] = {}
    for name in names:
        own = group(groups, name)
        most[own] = max(most.get(own, 0.0), *map(abs, found[name]))
    positive = frozenset(name for name in names if found[name][0] > 0)
    return Ranges(most, groups, frozenset(whole), positive)
