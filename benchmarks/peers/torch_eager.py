"""torch as it was trained: eager, one thread, the state kept between calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from frames import Step

_NAME = "workload"


def note(workload: str, folder: Path) -> None:
    """Nothing to convert."""
    (folder / _NAME).write_text(workload)


def open_step(folder: Path) -> Step:
    import torch
    from workloads import workload

    torch.set_num_threads(1)
    module = workload((folder / _NAME).read_text())
    state = module.initial_state(1)

    def step(frame: np.ndarray) -> np.ndarray:
        nonlocal state
        with torch.inference_mode():
            y, state = module.step(torch.from_numpy(frame)[None], state)
        return y.numpy()

    return step
