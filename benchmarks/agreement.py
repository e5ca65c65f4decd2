"""Whether a runner answers what torch answers; only one that does is timed."""

from __future__ import annotations

import numpy as np
import torch
from frames import CHECKED, FRAMES
from processes import RunnerFailed
from torch import nn

#: Of the largest output: float32 sums in another order and approximated functions stay far below.
FLOAT32_BOUND = 1e-4
#: Relative RMS error: dynamic int8 gives 0.01 to 0.03 here; a lost state, scale or layout gives 0.5 and more.
INT8_BOUND = 0.1


def expected(module: nn.Module) -> np.ndarray:
    """What torch answers to the checked frames, (CHECKED, outputs)."""
    state, outputs = module.initial_state(1), []
    with torch.inference_mode():
        for frame in FRAMES[:CHECKED]:
            y, state = module.step(torch.from_numpy(frame)[None], state)
            outputs.append(y.flatten().numpy())
    return np.stack(outputs)


def float32(found: np.ndarray, wanted: np.ndarray) -> None:
    """Raises RunnerFailed when an output is further off than `FLOAT32_BOUND` of the largest."""
    _refuse(np.abs(found - wanted).max() / np.abs(wanted).max(), FLOAT32_BOUND, "largest error")


def int8(found: np.ndarray, wanted: np.ndarray) -> None:
    """Raises RunnerFailed when the relative RMS error over all outputs is above `INT8_BOUND`."""
    _refuse(np.sqrt(np.square(found - wanted).sum() / np.square(wanted).sum()), INT8_BOUND, "RMS error")


def _refuse(error: float, bound: float, what: str) -> None:
    if not error <= bound:  # also when it is not a number
        raise RunnerFailed(f"does not answer as torch does: relative {what} {error:.2g}, allowed {bound:g}")
