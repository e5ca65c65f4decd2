"""Whether a runner answers what torch answers; only one that does is timed."""

from __future__ import annotations

import numpy as np
import torch
from frames import CHECKED, FRAMES
from processes import RunnerFailed
from torch import nn

#: Of the largest output: float32 sums in another order and approximated functions stay far below.
FLOAT32_BOUND = 1e-4
#: Relative RMS error: int8 gives 0.004 to 0.041 here, lost states 0.07 to 0.72. That every state is carried
#: exactly is seen in float32, where the same code carries it.
INT8_BOUND = 0.05


def expected(module: nn.Module) -> np.ndarray:
    """What torch answers to the checked frames, (CHECKED, outputs)."""
    state, outputs = module.initial_state(1), []
    with torch.inference_mode():
        for frame in FRAMES[:CHECKED]:
            y, state = module.step(torch.from_numpy(frame)[None], state)
            outputs.append(y.flatten().numpy())
    return np.stack(outputs)


def float32(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest error, relative to the largest output. Raises RunnerFailed above `FLOAT32_BOUND`."""
    return _within(FLOAT32_BOUND, np.abs(found - wanted).max() / np.abs(wanted).max(), "largest error")


def int8(found: np.ndarray, wanted: np.ndarray) -> float:
    """The relative RMS error over all outputs. Raises RunnerFailed above `INT8_BOUND`."""
    error = np.sqrt(np.square(found - wanted).sum() / np.square(wanted).sum())
    return _within(INT8_BOUND, error, "RMS error")


def _within(bound: float, error: float, what: str) -> float:
    if not error <= bound:  # also when it is not a number
        raise RunnerFailed(f"does not answer as torch does: relative {what} {error:.2g}, allowed {bound:g}")
    return float(error)
