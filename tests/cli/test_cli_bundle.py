"""`millstream inspect`, `verify` and `bench` on a bundle, whole and damaged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import millstream_runtime
from millstream.package import Contents, write
from millstream.signing import load as load_key
from millstream_runtime import golden
from millstream_runtime.spec import GOLDEN, STEP


@pytest.fixture
def spoil(bundle, tmp_path):
    """Write the bundle with golden outputs that are wrong by a thousandth, all hashes right."""
    return lambda **tolerance: _spoiled(bundle, tmp_path / "spoiled.mill", tolerance)


def _spoiled(bundle: Path, path: Path, tolerance: dict[str, float]) -> Path:
    read = millstream_runtime.read(bundle)
    spec = read.manifest.model
    right = golden.load(read.members[GOLDEN], spec)
    wrong = dataclasses.replace(right, outputs=tuple(output + np.float32(1e-3) for output in right.outputs))
    (target,) = (target for target in read.manifest.targets if target.backend == "onnxruntime")
    changed = dataclasses.replace(target, tolerance=dataclasses.replace(target.tolerance, **tolerance))
    write(path, Contents(spec, read.members[STEP], wrong, ((changed, {}),)))
    return path


def test_inspect_shows_the_whole_bundle(millstream, bundle, key):
    text = millstream("inspect", bundle).stdout
    lines = [line.split() for line in text.splitlines()]
    assert ["input", "input", "(5,)", "float32", "-"] in lines
    assert ["hidden", "(37,)", "float32", "148", "0.0"] in lines
    for word in (
        "100 Hz",
        "red, green, blue",
        key[1],
        "numba",
        "plan.json",
        "no state drifts",
        "user.py:gated",
    ):
        assert word in text


def test_inspect_as_json(millstream, bundle, key):
    document = json.loads(millstream("inspect", bundle, "--json").stdout)
    (state,) = document["model"]["states"]
    assert (state["bytes"], state["initial"]) == (148, 0.0)
    assert document["signature"] == {"present": True, "valid": True, "public_key": key[1]}
    assert document["targets"][0]["memory"]["state"] == 148
    files = document["targets"][0]["files"]
    assert document["targets"][0]["file_bytes"] == sum(document["members"][f]["size"] for f in files)


def test_inspect_shows_framing_and_the_absence_of_a_signature(millstream, windowed):
    text = millstream("inspect", windowed).stdout
    assert "8 samples a frame, 4 from frame to frame" in text
    assert json.loads(millstream("inspect", windowed, "--json").stdout)["signature"] == {"present": False}


def test_inspect_tells_a_signature_of_another_bundle(millstream, bundle, windowed, tmp_path):
    read = millstream_runtime.read(windowed)
    write(f"{tmp_path}/tree/", _contents(read))
    signature = millstream_runtime.read(bundle).signature
    assert signature is not None
    (tmp_path / "tree" / "manifest.sig").write_bytes(signature)
    document = json.loads(millstream("inspect", tmp_path / "tree", "--json").stdout)
    assert document["signature"]["valid"] is False
    assert "does not belong" in millstream("inspect", tmp_path / "tree").stdout


def _contents(read: millstream_runtime.Bundle) -> Contents:
    """The bundle's contents without the targets, ready to be written again."""
    spec = read.manifest.model
    return Contents(spec, read.members[STEP], golden.load(read.members[GOLDEN], spec), ())


def test_inspect_prints_the_program(millstream, bundle):
    text = millstream("inspect", bundle, "--program").stdout
    assert "hidden: float32[37], 148 bytes" in text
    # The linear layer on 37 hidden values: one sum for each of 3 outputs.
    assert "acc = sum over r0 in 0..36 of" in text
    assert "for i0 in 0..2:" in text
    assert "tanh(" in text
    assert json.loads(millstream("inspect", bundle, "--program", "--json").stdout) == {"program": text}


def test_inspect_without_a_program(millstream, windowed):
    result = millstream("inspect", windowed, "--program")
    assert result.exit_code == 2
    assert "--target numba" in result.stderr


@pytest.mark.parametrize("command", ["inspect", "verify", "bench"])
def test_a_bundle_that_is_not_there_and_one_cut_short(millstream, bundle, tmp_path, command):
    result = millstream(command, tmp_path / "none.mill")
    assert result.exit_code == 2
    assert "none.mill" in result.stderr
    (tmp_path / "cut.mill").write_bytes(bundle.read_bytes()[:-100])
    assert millstream(command, tmp_path / "cut.mill").exit_code == 1


def test_verify_replays_on_every_backend_and_the_reference(millstream, bundle):
    result = millstream("verify", bundle)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count(" ok ") == 3
    document = json.loads(millstream("verify", bundle, "--json").stdout)
    assert document["passed"] is True
    assert [one["backend"] for one in document["backends"]] == ["reference", "numba", "onnxruntime"]
    assert all(0 <= one["worst"]["largest"] <= one["worst"]["bound"] for one in document["backends"])


def test_verify_fails_when_the_numbers_differ(millstream, spoil):
    spoiled = spoil()
    result = millstream("verify", spoiled)
    assert result.exit_code == 1
    assert result.stdout.count("FAILED") == 2
    result = millstream("verify", spoiled, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["passed"] is False
    # float32 near 1e-3 beside values of order 1: the sum is rounded by 6e-8 at most.
    assert document["backends"][0]["worst"]["largest"] == pytest.approx(1e-3, abs=2e-7)


def test_verify_fails_when_one_backend_of_several_differs(millstream, spoil):
    result = millstream("verify", spoil(absolute=0.1), "--json")
    passed = {one["backend"]: one["passed"] for one in json.loads(result.stdout)["backends"]}
    assert passed == {"reference": False, "onnxruntime": True}
    assert result.exit_code == 1


def test_verify_fails_on_a_flipped_byte(millstream, bundle, tmp_path):
    data = bytearray(bundle.read_bytes())
    data[data.index(b'"buffers"') + 20] ^= 1
    (tmp_path / "flipped.mill").write_bytes(data)
    result = millstream("verify", tmp_path / "flipped.mill")
    assert result.exit_code == 1
    assert "plan.json" in result.stderr


def test_verify_asks_for_a_trusted_signature(millstream, bundle, windowed, key, tmp_path):
    assert millstream("verify", bundle, "--trusted-key", key[1]).exit_code == 0
    millstream("keygen", tmp_path / "other.pem")
    other = load_key(tmp_path / "other.pem").public_key
    assert millstream("verify", bundle, "--trusted-key", other).exit_code == 1
    assert millstream("verify", windowed, "--trusted-key", key[1]).exit_code == 1


def test_a_backend_that_is_not_installed_is_shown_and_no_failure(millstream, bundle, monkeypatch):
    monkeypatch.setattr("millstream_runtime.backends.numba.missing", lambda: "pip install numba")
    result = millstream("verify", bundle)
    assert result.exit_code == 0
    assert "not here" in result.stdout
    assert "pip install numba" in result.stdout
    assert "pip install numba" in millstream("bench", bundle, "--frames", 9).stdout
    assert millstream("verify", bundle, "--backend", "numba").exit_code == 3
    monkeypatch.setattr("millstream_runtime.backends.onnxruntime.missing", lambda: "pip install onnxruntime")
    assert millstream("verify", bundle).exit_code == 3


def test_one_backend_alone(millstream, bundle):
    document = json.loads(millstream("verify", bundle, "--backend", "numba", "--json").stdout)
    assert [one["backend"] for one in document["backends"]] == ["numba"]
    assert millstream("verify", bundle, "--backend", "tvm").exit_code == 2
    assert millstream("verify", bundle, "--backend", "abacus").exit_code == 2


def test_bench_measures_every_backend(millstream, bundle):
    document = json.loads(millstream("bench", bundle, "--frames", 200, "--json").stdout)
    assert document["versions"]["numpy"] == np.__version__
    assert [one["backend"] for one in document["backends"]] == ["numba", "onnxruntime"]
    for one in document["backends"]:
        assert 0 < one["speed"]["median_us"] <= one["speed"]["p99_us"]
        assert one["speed"]["cold_load_ms"] > 0
        assert one["memory"]["state"] == 148


def test_bench_as_text(millstream, bundle):
    result = millstream("bench", bundle, "--frames", 50, "--backend", "onnxruntime")
    assert result.exit_code == 0, result.stderr
    (row,) = (line.split() for line in result.stdout.splitlines() if line.strip().startswith("onnxruntime"))
    assert row[1] == "onnxruntime"
    assert row[5] == "148"
    assert millstream("bench", bundle, "--frames", 0).exit_code == 2
