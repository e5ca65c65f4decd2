"""InternalBleeding16: the blood pressure of an animal, some six minutes of pulse, with one blip in it.

Number 135 of the UCR archive of anomalies (Wu and Keogh, 2021). The first 1,200 samples are free of
anomalies and for training; the record goes on to 7,501, and twelve samples from 4,187 on are wrong. The data
comes inside the `aeon` package.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from millstream.datasets import aeon_files
from millstream.sequences import Sequences

#: Samples at the start that are free of anomalies.
TRAINING = 1200
_FILE = "135_UCR_Anomaly_InternalBleeding16_TEST.csv"


def train() -> Sequences:
    """The first 1,200 samples, (1200, 1). Raises ToolMissing, DataInvalid."""
    return Sequences((record()[0][:TRAINING],))


def record() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """All samples (7501, 1), and which of them are wrong (7501,). Raises ToolMissing, DataInvalid."""
    path = aeon_files.folder("KDD-TSAD_135") / _FILE
    lines = aeon_files.text(path).splitlines()[1:]
    try:
        rows = np.array([line.split(",")[1:] for line in lines], np.float64)
    except ValueError as error:
        raise aeon_files.invalid(path, str(error)) from error
    if rows.ndim != 2 or rows.shape[1] != 2 or len(rows) <= TRAINING:
        raise aeon_files.invalid(path, f"{len(lines)} lines of shape {rows.shape[1:]}")
    return rows[:, :1].astype(np.float32), rows[:, 1] > 0
