"""BasicMotions: four students with a smart watch stand, run, walk and play badminton, ten seconds at a time.

Clements (2016), in the UEA archive: three axes of an accelerometer and three of a gyroscope, 100 samples at
10 Hz. The official split has 40 recordings to train on and 40 to test, ten of each activity. The data comes
inside the `aeon` package.
"""

from __future__ import annotations

from millstream.datasets import aeon_files
from millstream.sequences import Sequences

CHANNELS = 6
FRAME_RATE = 10.0
ACTIVITIES = ("Standing", "Running", "Walking", "Badminton")


def train() -> Sequences:
    """The 40 training recordings (100, 6). Raises ToolMissing, DataInvalid."""
    return _read("BasicMotions_TRAIN.ts")


def test() -> Sequences:
    """The 40 test recordings (100, 6). Raises ToolMissing, DataInvalid."""
    return _read("BasicMotions_TEST.ts")


def _read(name: str) -> Sequences:
    return aeon_files.labelled(aeon_files.folder("BasicMotions") / name, CHANNELS, ACTIVITIES)
