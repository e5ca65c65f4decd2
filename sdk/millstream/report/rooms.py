"""The modules of a model as they stand in its step graph: operators, weights, and states that they read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from millstream.graph import StepGraph, initializers, origin
from millstream_runtime.bundle import Bundle
from millstream_runtime.spec import STEP

#: Where nodes stand that belong to no module and read no weight of one.
BETWEEN = "between modules"
_TRACED = "model."


@dataclass(frozen=True)
class Room:
    """One module: how often it uses each operator, the weights that it reads first, in elements and bytes as
    they lie in `step.onnx`, and the bytes of each state of one stream that it reads first."""

    path: str
    operators: Mapping[str, int]
    weights: int
    weight_bytes: int
    states: Mapping[str, int]

    @property
    def state_bytes(self) -> int:
        return sum(self.states.values())


@dataclass
class _Draft:
    operators: Counter[str] = field(default_factory=Counter)
    constants: list[np.ndarray] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)


def rooms(bundle: Bundle) -> tuple[Room, ...]:
    """The modules of a verified bundle in the order in which a step meets them."""
    graph = StepGraph(onnx.load_from_string(bundle.members[STEP])).flatten()
    constants = initializers(graph.model)
    states = {
        state.name: int(np.prod(state.shape)) * np.dtype(state.dtype).itemsize
        for state in bundle.manifest.model.states
    }
    homes = {name: module_of(name) for name in constants}
    drafts: dict[str, _Draft] = {}
    met: set[str] = set()
    for node in graph.model.graph.node:
        path = origin(node) or next(filter(None, (homes.get(name) for name in node.input)), BETWEEN)
        if all(name in homes for name in node.input):
            # Made of constants alone, so that it belongs where they do.
            homes |= dict.fromkeys(node.output, "" if path == BETWEEN else path)
        draft = drafts.setdefault(path, _Draft())
        draft.operators[node.op_type] += node.op_type != "Constant"
        for name in _first_met(node, met):
            if name in constants:
                draft.constants.append(constants[name])
            elif name in states:
                draft.states[name] = states[name]
    return tuple(_room(path, draft) for path, draft in drafts.items())


def module_of(parameter: str) -> str:
    """The module that a parameter is named after: torch calls what it traces `model`. Else an empty text."""
    path = parameter.rpartition(".")[0]
    return path.removeprefix(_TRACED) if path.startswith(_TRACED) else ""


def _first_met(node: onnx.NodeProto, met: set[str]) -> Iterator[str]:
    for name in node.input:
        if name and name not in met:
            met.add(name)
            yield name


def _room(path: str, draft: _Draft) -> Room:
    return Room(
        path,
        dict(+draft.operators),
        sum(constant.size for constant in draft.constants),
        sum(constant.nbytes for constant in draft.constants),
        draft.states,
    )
