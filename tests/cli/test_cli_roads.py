"""The roads from somebody's model: check, export --streamify, and import."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Command
from onnx_files import closed, detector

import millstream_runtime

_MODULES = """
import torch
from torch import nn

class Strided(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.near = nn.Conv1d(6, 4, 4, stride=2, padding=1)

    def forward(self, x):
        return self.near(x)

class Global(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(2, 6)
        self.back = nn.GRU(6, 4, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.back(self.norm(x).transpose(1, 2))[0]

class Picture(nn.Module):
    def forward(self, x):
        return x.mean((1, 2))
"""
_STREAMED = ("--streamify", "--time-axis", "2", "--example", "noise:6x41", "--target", "onnxruntime")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roads") / "modules.py"
    path.write_text(_MODULES)
    return path


def test_check_says_what_the_step_will_be(millstream: Command, modules: Path) -> None:
    result = millstream("check", f"{modules}:Strided", *_STREAMED, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["made to step"] == {"look-ahead in frames": 2, "frames a step": 2}
    assert told["found"]["states"] == {"conv1d.past": [6, 3], "clock.drained": []}


def test_check_names_everything_in_the_way_and_its_line(millstream: Command, modules: Path) -> None:
    result = millstream("check", f"{modules}:Global", *_STREAMED)
    assert result.exit_code == 4
    assert "group_norm at norm" in result.stderr
    assert "gru at back" in result.stderr
    assert f"{modules}:" in result.stderr


def test_check_of_a_model_without_time(millstream: Command, modules: Path) -> None:
    result = millstream("check", f"{modules}:Picture", "--example", "noise:3x8x8", "--target", "numba")
    assert result.exit_code == 0, result.stderr
    assert "nothing stands in the way" in result.stdout


def test_a_strided_module_streams_samples_of_any_chunk(
    millstream: Command, modules: Path, tmp_path: Path
) -> None:
    path = tmp_path / "strided.mill"
    result = millstream("export", f"{modules}:Strided", *_STREAMED, "-o", path)
    assert result.exit_code == 0, result.stderr
    assert "frames a step 2" in result.stdout
    stream = millstream_runtime.load(path).stream()
    frames = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    got = [y for start in range(0, 20, 3) for y in stream.push(frames[start : start + 3])] + stream.flush()
    assert np.stack(got).shape == (10, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--window", "8"), "add --streamify"),
        (("--streamify", "--time-axis", "7"), "no size"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    millstream: Command, modules: Path, options: tuple, message: str
) -> None:
    result = millstream("check", f"{modules}:Picture", "--example", "noise:3x8x8", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_import_guesses_the_states_and_shows_it(millstream: Command, tmp_path: Path) -> None:
    file, path = detector(tmp_path / "detector.onnx"), tmp_path / "detector.mill"
    result = millstream("import", file, "--state", "auto", "--target", "onnxruntime", "-o", path)
    assert result.exit_code == 0, result.stderr
    assert "states h=hn, c=cn: stepping differs by" in result.stdout
    assert "detector.onnx (onnxruntime) = step.onnx (reference)" in result.stdout
    assert [state.name for state in millstream_runtime.load(path).spec.states] == ["h", "c"]


def test_import_opens_a_recurrence(millstream: Command, tmp_path: Path) -> None:
    file, path = closed(tmp_path / "closed.onnx"), tmp_path / "closed.mill"
    result = millstream("import", file, "--expose-rnn-state", "--target", "onnxruntime", "-o", path, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["options"]["state"] == ["gru0.hidden=gru0.hidden.last"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--state", "h=cn", "--state", "c=hn"), 4, "differs by"),
        (("--shape", "x=1xbroad"), 2, "no shape"),
        (("--set", "sr=loud"), 2, "no setting"),
    ],
)
def test_import_refuses(millstream: Command, tmp_path: Path, options: tuple, code: int, message: str) -> None:
    result = millstream("import", detector(tmp_path / "detector.onnx"), *options)
    assert result.exit_code == code
    assert message in result.stderr
    assert not list(tmp_path.glob("*.mill"))
