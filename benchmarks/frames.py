"""What every runner is fed: frames of 40 numbers that differ from step to step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CHANNELS = 40

#: (64, 40) float32, the same in every process.
FRAMES = np.random.default_rng(0).standard_normal((64, CHANNELS)).astype(np.float32)

#: How many of them a runner must answer as torch does before it is timed.
CHECKED = 32

#: Takes a frame (40,), returns an output of any shape, and keeps the state for the next call. What it returns
#: may be its own buffer.
Step = Callable[[np.ndarray], np.ndarray]
