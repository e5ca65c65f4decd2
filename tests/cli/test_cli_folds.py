"""What an export shows of its folds, in text, in JSON and in the bundle; how to switch them off."""

from __future__ import annotations

import json

import pytest

_FILE = """
from fold_models import CausalNet, make, noise, warmed

def norms():
    return warmed(make(CausalNet), noise(3, 17, 5))
"""


@pytest.fixture
def norms(tmp_path):
    (tmp_path / "norms.py").write_text(_FILE)
    return (f"{tmp_path}/norms.py:norms", "--target", "onnxruntime", "--example", "noise:17x5")


def test_every_fold_is_listed_with_error_macs_and_parameters(millstream, norms, tmp_path):
    path = tmp_path / "folded.mill"
    result = millstream("export", *norms, "-o", path)
    assert result.exit_code == 0, result.stderr
    for words in ("step form (torch) = reparameterized", "inlet + inlet_norm", "ring_norm + conv", "MACs"):
        assert words in result.stdout
    document = json.loads(millstream("inspect", path, "--json").stdout)
    (first, *_) = document["report"]["reparameterization"]["module"]["applied"]
    assert first["where"] == "inlet + inlet_norm"
    assert first["error"] < 1e-5
    assert first["after"]["macs"] < first["before"]["macs"]
    assert "ring_norm + conv" in millstream("inspect", path).stdout


def test_json_lists_the_same(millstream, norms, tmp_path):
    document = json.loads(millstream("export", *norms, "-o", tmp_path / "folded.mill", "--json").stdout)
    found = document["reparameterization"]
    assert [each["rewrite"] for each in found["module"]["applied"]] == [
        "batch norm",
        "batch norm",
        "layer norm",
    ]
    assert set(found) == {"module", "step"}


def test_a_flag_and_an_option_of_the_file_switch_folding_off(millstream, norms, tmp_path):
    config = tmp_path / "export.toml"
    config.write_text("[export]\nreparameterize = false\n")
    for number, off in enumerate((("--no-reparameterize",), ("--config", config))):
        path = tmp_path / f"{number}.mill"
        document = json.loads(millstream("export", *norms, *off, "-o", path, "--json").stdout)
        assert document["reparameterization"] is None
        assert document["options"]["reparameterize"] is False
    again = millstream("export", *norms, "--config", config, "--reparameterize", "-o", path, "--json")
    assert json.loads(again.stdout)["reparameterization"]["module"]["applied"]
