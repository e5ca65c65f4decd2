"""`millstream quantize`: the smallest mix of formats within a budget, and refusals that help."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Command
from safetensors.torch import save_file

import millstream_runtime
from millstream.quantize.search import Trial
from millstream.quantize.trials import TrialFile

_MODEL = """
import torch
from torch import nn

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(40, 64), nn.Tanh(), nn.Linear(64, 20))

    def forward(self, x):
        return self.layers(x)
"""


@pytest.fixture
def model(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "wide.py").write_text(_MODEL)
    x = np.random.default_rng(0).standard_normal((30, 40)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    return f"{tmp_path}/wide.py:Wide", "--example", f"{tmp_path}/x.npz", "--target", "onnxruntime"


def test_the_budget_decides_on_the_formats(
    millstream: Command, model: tuple[str, ...], tmp_path: Path
) -> None:
    taken = {}
    for budget in ("20%", "3%"):
        path = tmp_path / f"{budget}.mill"
        result = millstream("quantize", *model, "--budget", budget, "-o", path, "--json")
        assert result.exit_code == 0, result.output
        search = json.loads(result.stdout)["search"]
        assert search["chosen"]["lost"] <= float(budget[:-1]) / 100
        assert search["chosen"] in search["front"]
        taken[budget] = search["chosen"]
        shown = json.loads(millstream("inspect", path, "--json").stdout)
        assert shown["report"]["search"] == search
    assert taken["20%"]["products"] == {"w4a8": 2}
    assert taken["20%"]["bytes"] == (40 * 64 + 64 * 20) // 2
    assert "w8a8" in taken["3%"]["products"]
    assert taken["3%"]["bytes"] > taken["20%"]["bytes"]


def test_a_module_for_whole_sequences_takes_the_roads_of_export(millstream: Command, tmp_path: Path) -> None:
    """A module that stands in the file ready-made, made to step, with a checkpoint of its own."""
    file, path = tmp_path / "smooth.py", tmp_path / "smooth.mill"
    file.write_text("from torch import nn\n\nmodel = nn.GRU(12, 40, batch_first=True)\n")
    x = np.random.default_rng(0).standard_normal((3, 20, 12)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    model = torch.nn.GRU(12, 40, batch_first=True)
    weights = {name: torch.full_like(value, 0.01) for name, value in model.state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    given = ("--example", f"{tmp_path}/x.npz", "--checkpoint", f"{tmp_path}/w.safetensors")
    wanted = ("--target", "onnxruntime", "--budget", "20%", "-o", path)
    result = millstream("quantize", f"{file}:model", "--streamify", *given, *wanted)
    assert result.exit_code == 0, result.output
    got = np.stack([output for output, hidden in millstream_runtime.load(path).stream().push(x[0])])
    model.load_state_dict(weights)
    want = model(torch.from_numpy(x[:1]))[0][0].detach().numpy()
    assert np.square(got - want).sum() < 0.2**2 * np.square(want).sum()


def test_a_search_goes_on_where_it_was_broken_off(
    millstream: Command, model: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, path = tmp_path / "trials.json", tmp_path / "wide.mill"
    options = ("--budget", "3%", "--trials", trials, "-o", path, "--json")
    measured: list[Trial] = []
    add = TrialFile.add

    def broken(file: TrialFile, trial: Trial) -> None:
        add(file, trial)
        if len(file.trials) == 3:
            raise KeyboardInterrupt

    def counted(file: TrialFile, trial: Trial) -> None:
        measured.append(trial)
        add(file, trial)

    monkeypatch.setattr(TrialFile, "add", broken)
    assert millstream("quantize", *model, *options).exit_code != 0
    assert len(json.loads(trials.read_text())["trials"]) == 3
    monkeypatch.setattr(TrialFile, "add", counted)
    first = json.loads(millstream("quantize", *model, *options).stdout)["search"]
    assert len(measured) == len(first["tried"]) - 3
    measured.clear()
    again = json.loads(millstream("quantize", *model, *options).stdout)["search"]
    assert not measured
    assert again["tried"] == first["tried"]
    assert first["float"]["bytes"] == 4 * (40 * 64 + 64 * 20)
    assert all(each["microseconds"] > 0 for each in (*first["front"], first["float"]))

    page = tmp_path / "page.html"
    assert millstream("report", path, "--steps", 5, "-o", page).exit_code == 0
    assert 'aria-label="Loss against bytes of weights"' in page.read_text()


@pytest.mark.parametrize(
    ("text", "told", "code"),
    [
        ('{"identity": "other", "trials": []}', "of another model, or were measured on other data", 2),
        ('{"identity": "other"}', "these are no trials of a search", 2),
        ("nothing", "these are no trials of a search", 2),
    ],
)
def test_trials_of_something_else_are_refused(
    millstream: Command, model: tuple[str, ...], tmp_path: Path, text: str, told: str, code: int
) -> None:
    trials = tmp_path / "trials.json"
    trials.write_text(text)
    result = millstream("quantize", *model, "--trials", trials, "-o", tmp_path / "none.mill")
    assert result.exit_code == code, result.stderr
    assert told in " ".join(result.stderr.split())
    assert trials.read_text() == text


def test_no_mix_within_the_budget_writes_nothing(
    millstream: Command, model: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "none.mill"
    result = millstream("quantize", *model, "--budget", "0", "-o", path)
    assert result.exit_code == 1
    assert "the closest is" in result.stderr.replace("\n", " ")
    assert not path.exists()


@pytest.mark.parametrize("budget", ["much", "-1%", "200%"])
def test_a_budget_that_is_none(millstream: Command, model: tuple[str, ...], budget: str) -> None:
    result = millstream("quantize", *model, f"--budget={budget}")
    assert result.exit_code == 2
    assert "most-lost" in result.stderr


def test_a_format_of_the_whole_step_cannot_be_mixed(
    millstream: Command, model: tuple[str, ...], tmp_path: Path
) -> None:
    options = ("--budget", "5%", "--format", "fixed16", "-o", tmp_path / "none.mill")
    result = millstream("quantize", *model, *options)
    assert result.exit_code == 2
    assert "fixed16 takes the whole step" in result.stderr
