"""The golden frames of a bundle for a program in C, and the check of what it gives back.

    python golden.py frames kws.mill | ./kws_run | python golden.py check kws.mill c

Frames and results travel as the bytes of the structs of `step.h`; what is allowed between the numbers is said
by the target that the program was made from.
"""

from __future__ import annotations

import sys

import millstream_runtime
from millstream.targets.c import golden as structs
from millstream_runtime import golden
from millstream_runtime.bundle import Bundle
from millstream_runtime.golden import Golden
from millstream_runtime.replay import Difference, worst
from millstream_runtime.spec import GOLDEN


def frames(bundle: Bundle) -> bytes:
    """The golden inputs, one struct after the other."""
    return structs.input_structs(bundle.manifest.model, _golden(bundle))


def differences(bundle: Bundle, results: bytes, target: str) -> list[Difference]:
    """What the program gave against the golden sequence, as the target allows."""
    (tolerance,) = (known.tolerance for known in bundle.manifest.targets if known.name == target)
    return structs.differences(bundle.manifest.model, _golden(bundle), results, tolerance)


def _golden(bundle: Bundle) -> Golden:
    return golden.load(bundle.members[GOLDEN], bundle.manifest.model)


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
