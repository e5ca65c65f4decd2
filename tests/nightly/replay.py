"""Replay the golden sequence of a bundle on backends of this machine; needs the runtime alone.

python replay.py kws.mill numba tvm
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence

import millstream_runtime
from millstream_runtime import golden
from millstream_runtime.replay import replay
from millstream_runtime.spec import GOLDEN


def main(path: str, backends: Sequence[str]) -> bool:
    """Whether every backend gives the golden numbers."""
    bundle = millstream_runtime.read(path)
    passed = True
    for backend in backends:
        start = time.perf_counter()
        model = millstream_runtime.load(path, backend)
        opened = time.perf_counter() - start
        result = replay(model.core, golden.load(bundle.members[GOLDEN], model.spec), model.target.tolerance)
        worst, passed = result.worst, passed and result.passed
        print(
            f"{platform.machine()}, {model.target.name}: {'ok' if result.passed else 'FAILED'},"
            f" {result.ticks} ticks, {worst.name} off by {worst.largest:.1e} of {worst.bound:.1e};"
            f" opened in {opened:.1f} s"
        )
    return passed


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1], sys.argv[2:]))
