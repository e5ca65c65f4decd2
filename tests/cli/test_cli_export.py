"""`millstream export` and `keygen`: what is written, and that nothing is written when something is wrong."""

from __future__ import annotations

import json
import stat

import numpy as np
import pytest
import safetensors.torch
import torch

import millstream_runtime
from millstream.targets import TARGETS
from millstream_models import CATALOGUE


@pytest.fixture
def gated(room):
    """The options that export the gated recurrence quickly."""
    return (f"{room}/user.py:gated", "--target", "onnxruntime", "--example", "noise:9x5")


def refused(result, code: int, *words: str) -> None:
    """The command failed with this code, said these words, and did not break."""
    assert result.exit_code == code, result.output
    for word in words:
        assert word in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_the_bundle_holds_what_the_options_say(bundle, room):
    manifest = millstream_runtime.read(bundle).manifest
    assert manifest.model.name == "gated"
    assert manifest.model.sample_rate == 100
    assert manifest.model.labels == ("red", "green", "blue")
    assert [target.name for target in manifest.targets] == ["numba", "onnxruntime"]
    assert manifest.options == {
        "model": f"{room}/user.py:gated",
        "example": f"{room}/data.npz",
        "labelled": f"{room}/data.npz",
        "sample-rate": 100.0,
        "label": ["red", "green", "blue"],
        "targets": ["numba", "onnxruntime"],
    }


def test_text_shows_every_rung_and_the_summary(millstream, gated, tmp_path):
    path = tmp_path / "out.mill"
    result = millstream("export", *gated, "-o", path)
    assert result.exit_code == 0, result.stderr
    ladder = json.loads(millstream("inspect", path, "--json").stdout)["report"]["ladder"]
    rungs = [line for line in result.stdout.splitlines() if line.startswith("ok ")]
    assert len(rungs) == len(ladder) > 4
    for line, rung in zip(rungs, ladder, strict=True):
        assert rung["claim"] in line
        assert f"{rung['difference']:.1e} <= {rung['bound']:.1e}" in line
    assert f"{path.stat().st_size:,}" in result.stdout
    assert f"millstream inspect {path}" in result.stdout


def test_json_is_one_document_for_the_cpu_target_whatever_the_model_prints(millstream, gated, tmp_path):
    path = tmp_path / "cpu.mill"
    result = millstream("export", gated[0], "--target", "cpu", *gated[3:], "-o", path, "--json")
    document = json.loads(result.stdout)
    assert document["targets"] == ["cpu", "onnxruntime"]
    assert document["bytes"] == path.stat().st_size
    assert all(rung["passed"] for rung in document["ladder"])
    assert "a user's file may print" in result.stderr
    verdicts = json.loads(millstream("verify", path, "--json").stdout)["backends"]
    assert {one["backend"]: one["passed"] for one in verdicts}["tvm"] is True


def test_a_target_that_gives_way_is_told_and_shown(millstream, room, tmp_path):
    path = tmp_path / "up.mill"
    arguments = (
        "export",
        f"{room}/user.py:upsampled",
        "--target",
        "cpu",
        "--example",
        "noise:9x3x10",
        "-o",
        path,
    )
    text = millstream(*arguments).stdout
    assert "note    relax takes the place of cpu" in text
    assert "Resize at node" in text
    shown = millstream("inspect", path).stdout
    assert "targets that took the place of others" in shown
    assert [line.split()[:4] for line in shown.splitlines() if "Resize" in line] == [
        ["cpu", "relax", "Resize", "up"]
    ]
    (detour,) = json.loads(millstream(*arguments, "--json").stdout)["fallbacks"]
    assert (detour["chosen"], detour["taken"], detour["gaps"][0]["origin"]) == ("cpu", "relax", "up")


def test_a_toml_file_holds_options_and_flags_override_it(millstream, gated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("uno\ndos\n\ntres\n")
    (tmp_path / "millstream.toml").write_text(
        f"""
        [export]
        model = "{gated[0]}"
        target = ["onnxruntime"]
        example = "noise:9x5"
        name = "from the file"
        sample-rate = 50
        labels = "words.txt"
        """
    )
    result = millstream("export", "--config", "millstream.toml", "--name", "flag")
    assert result.exit_code == 0, result.stderr
    manifest = millstream_runtime.read(tmp_path / "flag.mill").manifest
    assert manifest.model.name == "flag"
    assert manifest.model.sample_rate == 50
    assert manifest.model.labels == ("uno", "dos", "tres")
    assert manifest.options["sample-rate"] == 50
    assert manifest.options["name"] == "flag"


def test_labels_as_flags_override_those_of_the_file(tmp_path):
    from millstream.cli.export_options import resolve

    (tmp_path / "a.toml").write_text("[export]\nmodel = 'x:y'\nlabels = 'words.txt'")
    options = resolve(str(tmp_path / "a.toml"), {"label": ["uno", "dos"], "target": None})
    assert options.label == ("uno", "dos")
    assert options.labels is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[export]\nmodle = 'x:y'", ["modle: no such option", "model: is needed"]),
        ("[export]\nmodel = 'x:y'\nhop = 0\nsample-rate = -1", ["hop:", "sample-rate:"]),
        ("[export]\nmodel = 'x:y'\nlabel = ['a']\nlabels = 'b.txt'", ["given twice"]),
        ("[exprot]\nmodel = 'x:y'", ["no table [export]"]),
        ("[export", ["cannot be read"]),
    ],
)
def test_a_wrong_toml_file_is_refused(millstream, tmp_path, text, words):
    (tmp_path / "wrong.toml").write_text(text)
    refused(millstream("export", "--config", tmp_path / "wrong.toml"), 2, "wrong.toml", *words)


def test_a_wrong_label_file_is_refused(millstream, gated, tmp_path):
    refused(millstream("export", *gated, "--labels", tmp_path / "none.txt"), 2, "none.txt")


def test_labels_must_fit_the_output(millstream, gated, tmp_path):
    refused(millstream("export", *gated, "--label", "one", "-o", tmp_path / "a.mill"), 2, "1 labels", "(3,)")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_loaded(millstream, gated, room, tmp_path):
    from small_models import GatedRecurrence

    torch.manual_seed(5)
    module = GatedRecurrence()
    safetensors.torch.save_file(module.state_dict(), tmp_path / "w.safetensors")
    result = millstream(
        "export", *gated, "--checkpoint", tmp_path / "w.safetensors", "-o", tmp_path / "w.mill"
    )
    assert result.exit_code == 0, result.stderr
    frames = np.load(room / "data.npz")["x"][0]
    with millstream_runtime.load(tmp_path / "w.mill").stream() as stream:
        got = np.stack(stream.push(frames))
    want = module(torch.from_numpy(frames)[None])[0].detach().numpy()
    # torch sums 37 products in float32 in another order; values are of order 1.
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_checkpoint_with_wrong_names_is_refused(millstream, gated, tmp_path):
    safetensors.torch.save_file({"stranger": torch.zeros(1)}, tmp_path / "w.safetensors")
    refused(millstream("export", *gated, "--checkpoint", tmp_path / "w.safetensors"), 2, "stranger")


def test_a_checkpoint_that_can_run_code_is_refused(millstream, gated):
    refused(millstream("export", *gated, "--checkpoint", "model.pt"), 2, ".safetensors")


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("user.py:raising", 2, ["no weights today", "user.py:"]),
        ("user.py:absent", 2, ["absent"]),
        ("nowhere.py:gated", 2, ["nowhere.py"]),
        ("lmuformer", 2, ["lmuformer", CATALOGUE[0].name]),
        ("user.py:mutated", 4, ["hidden"]),
    ],
)
def test_models_that_cannot_be_exported(millstream, room, tmp_path, model, code, words):
    place = f"{room}/{model}" if ".py" in model else model
    result = millstream(
        *("export", place, "--target", "numba", "--example", "noise:9x4", "-o", tmp_path / "a.mill")
    )
    refused(result, code, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rung_writes_nothing_and_keeps_the_old_file(millstream, room, tmp_path):
    old = tmp_path / "a.mill"
    old.write_bytes(b"an older bundle")
    options = ("--target", "onnxruntime", "--example", "noise:9x4", "-o", old)
    result = millstream("export", f"{room}/user.py:disagreeing", *options)
    refused(result, 1, "sequence form (torch) = step form (torch)")
    assert "FAILED" in result.stdout
    assert old.read_bytes() == b"an older bundle"
    assert list(tmp_path.iterdir()) == [old]


def test_an_unknown_target_is_refused(millstream, gated):
    refused(millstream("export", gated[0], "--target", "toaster"), 2, "toaster", ", ".join(TARGETS))


def test_a_missing_linker_is_told_before_anything_is_proved(millstream, gated, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    result = millstream("export", gated[0], "--target", "cpu", *gated[3:], "-o", tmp_path / "a.mill")
    refused(result, 3, "apt install gcc")
    assert "ok " not in result.stdout


def test_a_place_that_cannot_hold_the_bundle_is_refused_early(millstream, gated, tmp_path):
    refused(millstream("export", *gated, "-o", tmp_path / "none" / "a.mill"), 2, "folder does not exist")
    refused(millstream("export", *gated, "-o", tmp_path), 2, "that is a folder")


def test_a_bundle_can_be_a_folder(millstream, gated, tmp_path):
    result = millstream("export", *gated, "-o", f"{tmp_path}/tree/", "--json")
    files = [file for file in (tmp_path / "tree").rglob("*") if file.is_file()]
    assert json.loads(result.stdout)["bytes"] == sum(file.stat().st_size for file in files)
    assert millstream("verify", tmp_path / "tree").exit_code == 0


def test_example_frames_are_needed(millstream, gated):
    refused(millstream("export", gated[0]), 2, "noise:64x40", "data.npz")


def test_labelled_data_needs_labels(millstream, gated, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 9, 5), np.float32))
    refused(millstream("export", *gated, "--labelled", tmp_path / "x.npz"), 2, "no labels", "x.npz")


def test_the_data_of_a_reference_model_is_the_default():
    from millstream.cli.export_data import read_example, read_labelled, read_labels
    from millstream.cli.export_options import resolve

    options, entry = resolve(None, {"model": CATALOGUE[0].name}), CATALOGUE[0]
    example, labelled = read_example(options, entry), read_labelled(options, entry)
    assert example.origin == "japanese_vowels, train split"
    assert len(example.data.frames) == 270
    assert labelled is not None
    assert len(labelled.data.labels) == 370
    assert read_labels(options, entry) == entry.labels


def test_a_key_is_for_its_owner_alone_and_never_overwritten(millstream, key):
    path, public = key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(bytes.fromhex(public)) == 32
    before = path.read_bytes()
    refused(millstream("keygen", path), 2, "key.pem")
    assert path.read_bytes() == before


def test_a_key_as_json(millstream, tmp_path):
    document = json.loads(millstream("keygen", tmp_path / "k.pem", "--json").stdout)
    assert document["private_key"] == str(tmp_path / "k.pem")
    assert len(bytes.fromhex(document["public_key"])) == 32
