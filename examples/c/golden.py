"""The golden frames of a bundle for a program in C, and the check of what it gives back.

    python golden.py frames kws.mill | ./kws_run | python golden.py check kws.mill c

Frames and results travel as the bytes of the structs of `step.h`; what is allowed between the numbers is said
by the target that the program was made from.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

import millstream_runtime
from millstream.targets.c.layout import Member, layout, record
from millstream_runtime import golden
from millstream_runtime.bundle import Bundle
from millstream_runtime.golden import Golden
from millstream_runtime.replay import Difference, compare, worst
from millstream_runtime.spec import GOLDEN


def frames(bundle: Bundle) -> bytes:
    """The golden inputs, one struct after the other."""
    members, sequence = layout(bundle.manifest.model).input, _golden(bundle)
    structs = np.zeros(sequence.ticks, record(members))
    for member, values in _pairs(members, sequence.inputs):
        structs[member.name] = values.reshape(sequence.ticks, -1)
    return structs.tobytes()


def differences(bundle: Bundle, results: bytes, target: str) -> list[Difference]:
    """What the program gave (one output struct per frame, then the state) against the golden sequence.

    Outputs before the look-ahead is over belong to no frame and are left out.
    """
    spec, sequence = bundle.manifest.model, _golden(bundle)
    structs = layout(spec)
    output, state = record(structs.output), record(structs.state)
    (tolerance,) = (known.tolerance for known in bundle.manifest.targets if known.name == target)
    outputs = np.frombuffer(results, output, sequence.ticks)[spec.look_ahead :]
    found = []
    for member, want in _pairs(structs.output, sequence.outputs):
        want = want[spec.look_ahead :].reshape(len(outputs), -1)
        found.append(compare(member.name, outputs[member.name], want, tolerance))
    if state.itemsize:
        final = np.frombuffer(results, state, 1, sequence.ticks * output.itemsize)
        for member, want in _pairs(structs.state, sequence.final_states):
            found.append(compare(member.name, final[member.name], want.reshape(1, -1), tolerance))
    return found


def _golden(bundle: Bundle) -> Golden:
    return golden.load(bundle.members[GOLDEN], bundle.manifest.model)


def _pairs(members: Sequence[Member], arrays: Sequence[np.ndarray]) -> list[tuple[Member, np.ndarray]]:
    """Each tensor that is in the struct, with its values."""
    return [(member, array) for member, array in zip(members, arrays, strict=True) if member.size]


def main(command: str, path: str, target: str = "") -> int:
    bundle = millstream_runtime.read(path)
    if command == "frames":
        sys.stdout.buffer.write(frames(bundle))
        return 0
    found = differences(bundle, sys.stdin.buffer.read(), target)
    nearest = worst(found)
    passed = all(difference.within for difference in found)
    print(
        "ok" if passed else "FAILED", f"{nearest.name}: off by {nearest.largest:.1e} of {nearest.bound:.1e}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    if len(sys.argv) != {"frames": 3, "check": 4}.get("".join(sys.argv[1:2])):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
