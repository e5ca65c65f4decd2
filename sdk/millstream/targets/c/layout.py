"""The structs of a step in C: which members they have, and how large they are.

Both the printer and the host's run of the compiled step take it from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from millstream.targets.c.names import identifier, identifiers
from millstream_runtime.spec import ModelSpec, StateSpec, TensorSpec


@dataclass(frozen=True)
class Member:
    """One tensor of one stream in a struct: an array of `size` elements called `name`."""

    name: str
    tensor: TensorSpec | StateSpec

    @property
    def size(self) -> int:
        return math.prod(self.tensor.shape)


@dataclass(frozen=True)
class Layout:
    """The structs `<prefix>_input`, `<prefix>_state` and `<prefix>_output`, members in graph order."""

    prefix: str
    input: tuple[Member, ...]
    state: tuple[Member, ...]
    output: tuple[Member, ...]


def layout(spec: ModelSpec) -> Layout:
    """The structs of a model."""
    return Layout(
        prefix=identifier(spec.name),
        input=_members(spec.graph_inputs),
        state=_members(spec.states),
        output=_members(spec.outputs),
    )


def record(members: Sequence[Member]) -> np.dtype:
    """The struct as a NumPy dtype, padded as C pads it where every number lies on a multiple of its size.

    That is so on every target of 32 bits and more that is in use but 32-bit x86. Members without elements
    are left out, as they are in C.
    """
    fields = [(m.name, m.tensor.dtype, (m.size,)) for m in members if m.size]
    return np.dtype(fields, align=True)


def _members(tensors: Sequence[TensorSpec] | Sequence[StateSpec]) -> tuple[Member, ...]:
    names = identifiers(tensor.name for tensor in tensors)
    return tuple(map(Member, names, tensors))
