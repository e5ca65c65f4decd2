"""`millstream quantize`: the smallest mix of formats within a budget, and refusals that help."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Command

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
