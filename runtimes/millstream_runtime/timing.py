"""How long one step takes, one stream in one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np

from millstream_runtime.golden import Golden
from millstream_runtime.model import Model

_WARM_UP = 100


def step_times(model: Model, golden: Golden, count: int) -> np.ndarray:
    """Microseconds (count,) of single steps of one stream, the golden frames over and over."""
    real = golden.ticks - model.spec.look_ahead
    columns: Sequence[np.ndarray] = golden.inputs[: len(model.spec.inputs)]
    rows = [tuple(np.array(column[t]) for column in columns) for t in range(real)]
    times = np.empty(_WARM_UP + count)
    with model.stream() as stream:
        for place, row in enumerate(islice(cycle(rows), len(times))):
            start = time.perf_counter_ns()
            stream.step(*row)
            times[place] = time.perf_counter_ns() - start
    return times[_WARM_UP:] / 1e3
