"""Trained trackers: parity needs negative eigenvalues, counting modulo three a rotation."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

import millstream_models.deltanet
from millstream_models.deltanet.state_tracking import TASKS, accuracy, tracker

FOLDER = Path(millstream_models.deltanet.__file__).parent


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.weights)
def test_what_can_be_tracked_is_and_what_cannot_is_chance(task):
    model = tracker(task).eval()
    model.load_state_dict(load_file(FOLDER / task.weights))
    able = task.largest_strength == 2 and (task.modulus == 2 or task.micro_steps == 2)
    right = accuracy(task, model)
    if able:
        assert right > 0.95
    else:
        assert right < 1 / task.modulus + 0.1
