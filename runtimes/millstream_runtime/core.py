"""What all streams of a model share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from millstream_runtime.backends import Step
from millstream_runtime.spec import ModelSpec


@dataclass(frozen=True)
class Core:
    """The opened step, its contract, the initial value of each state (no batch dimension), and the
    hash that identifies the model. Immutable, so streams in several threads may share it."""

    spec: ModelSpec
    step: Step
    initial: tuple[np.ndarray, ...]
    identity: str
