"""The golden sequence: real frames with the outputs and final states that they must give.

Tensors of `golden.safetensors`: `input.<name>` (T, *shape) for each graph input, `valid` included;
`output.<name>` (T, *shape) for each output; `state.<name>` (*shape), each state after the last step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from millstream_runtime import safetensors
from millstream_runtime.errors import TensorsInvalid
from millstream_runtime.spec import GOLDEN, ModelSpec


@dataclass(frozen=True)
class Golden:
    """Inputs in the order of `spec.graph_inputs`, outputs and final states in the manifest's order."""

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    final_states: tuple[np.ndarray, ...]

    @property
    def ticks(self) -> int:
        """How many steps the sequence takes, those that drain the look-ahead included."""
        return len(self.inputs[0])


def dump(golden: Golden, spec: ModelSpec) -> bytes:
    """The member's bytes. Raises TensorsInvalid when the arrays are not those of the model."""
    arrays = dict(zip(_names(spec), (*golden.inputs, *golden.outputs, *golden.final_states), strict=True))
    data = safetensors.dump(arrays)
    load(data, spec)
    return data


def load(data: bytes, spec: ModelSpec) -> Golden:
    """Check and read the member; arrays are read-only. Raises TensorsInvalid."""
    arrays, _ = safetensors.load(data, GOLDEN)
    ticks = max((len(a) for name, a in arrays.items() if name.startswith("input.") and a.ndim), default=0)
    if ticks <= spec.look_ahead:
        raise TensorsInvalid("the golden sequence ends before its first output", where=GOLDEN)
    wanted = dict(_wanted(spec, ticks))
    found = {name: (a.shape, a.dtype.name) for name, a in arrays.items()}
    if found != wanted:
        differing = sorted({name for name, _ in found.items() ^ wanted.items()})
        raise TensorsInvalid(
            "the golden tensors are not those of the model", where=GOLDEN, why=", ".join(differing)
        )
    ordered = tuple(arrays[name] for name in wanted)
    first_output, first_state = len(spec.graph_inputs), len(spec.graph_inputs) + len(spec.outputs)
    return Golden(ordered[:first_output], ordered[first_output:first_state], ordered[first_state:])


def _names(spec: ModelSpec) -> Sequence[str]:
    return [name for name, _ in _wanted(spec, 0)]


def _wanted(spec: ModelSpec, ticks: int) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    """Name, shape and dtype of every tensor, in the order of Golden."""
    for kind, tensors in (("input", spec.graph_inputs), ("output", spec.outputs)):
        for t in tensors:
            yield f"{kind}.{t.name}", ((ticks, *t.shape), t.dtype)
    for s in spec.states:
        yield f"state.{s.name}", (s.shape, s.dtype)
