"""The examples of each road from somebody's model to a stream: short, and they do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
_ROADS = {
    "streamed_denoiser.py": ("bundle.mill",),
    "language_model.py": ("bundle.mill",),
    "byte_language_model.py": ("bundle.mill",),
    "keyword_spotter.py": ("bundle.mill",),
    "imported_detector.py": ("model.onnx", "bundle.mill"),
    "image_classifier.py": ("bundle.mill",),
}
#: Backends sum in another order than the model; values are of order 1, or said in units of the largest.
_BOUND = 1e-5


@pytest.mark.parametrize("name", _ROADS)
def test_an_example_runs_and_its_numbers_agree(name: str, tmp_path: Path) -> None:
    files = [str(tmp_path / file) for file in _ROADS[name]]
    command = [sys.executable, str(EXAMPLES / name), *files]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    differences = [
        float(found) for found in re.findall(r"largest difference from the \w+: (\S+)", run.stdout)
    ]
    assert differences or "as the model generates: True" in run.stdout, run.stdout
    assert all(difference < _BOUND for difference in differences), run.stdout
    assert Path(files[-1]).exists()


@pytest.mark.parametrize("name", _ROADS)
def test_an_example_is_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) < 80
