"""How long a fresh process needs from `import numpy` being done to the first output.

    python -m millstream.cold_load kws.mill numba        # prints milliseconds

A program of its own, so that nothing but NumPy is loaded before the clock starts.
"""

from __future__ import annotations

import sys
import time

import numpy as np


def milliseconds(path: str, backend: str) -> float:
    """Import the runtime, verify and open the bundle, make a stream, step once."""
    start = time.perf_counter()
    import millstream_runtime

    model = millstream_runtime.load(path, backend)
    with model.stream() as stream:
        stream.step(*(np.zeros(t.shape, t.dtype) for t in model.spec.inputs))
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    print(milliseconds(*sys.argv[1:]))
