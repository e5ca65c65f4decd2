"""The golden sequence of a bundle for a program in C, as the bytes of the structs of `step.h`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from millstream.targets.c.layout import Member, layout, record
from millstream_runtime.golden import Golden
from millstream_runtime.replay import Difference, compare
from millstream_runtime.spec import ModelSpec, StateSpec, Tolerance


def input_structs(spec: ModelSpec, sequence: Golden) -> bytes:
    """The golden inputs, one struct after the other."""
    members = layout(spec).input
    structs = np.zeros(sequence.ticks, record(members))
    for member, values in _pairs(members, sequence.inputs):
        structs[member.name] = values.reshape(sequence.ticks, -1)
    return structs.tobytes()


def result_bytes(spec: ModelSpec, sequence: Golden) -> int:
    """How much a program gives back: an output struct for each tick, then the state."""
    structs = layout(spec)
    return sequence.ticks * record(structs.output).itemsize + record(structs.state).itemsize


def differences(spec: ModelSpec, sequence: Golden, results: bytes, tolerance: Tolerance) -> list[Difference]:
    """What a program gave (one output struct per tick, then the state) against the golden sequence.

    Outputs before the look-ahead is over belong to no frame and are left out.
    """
    structs = layout(spec)
    output, state = record(structs.output), record(structs.state)
    outputs = np.frombuffer(results, output, sequence.ticks)[spec.look_ahead :]
    found = []
    for member, want in _pairs(structs.output, sequence.outputs):
        want = want[spec.look_ahead :].reshape(len(outputs), -1)
        found.append(compare(member.name, outputs[member.name], want, tolerance))
    if state.itemsize:
        final = np.frombuffer(results, state, 1, sequence.ticks * output.itemsize)
        for member, want in _pairs(structs.state, sequence.final_states):
            rounded = isinstance(member.tensor, StateSpec) and member.tensor.rounded
            found.append(compare(member.name, final[member.name], want.reshape(1, -1), tolerance, rounded))
    return found


def _pairs(members: Sequence[Member], arrays: Sequence[np.ndarray]) -> list[tuple[Member, np.ndarray]]:
    """Each tensor that is in the struct, with its values."""
    return [(member, array) for member, array in zip(members, arrays, strict=True) if member.size]
