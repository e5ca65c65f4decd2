"""Targets for other machines through the command line, from an export with a budget to `extract`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

import millstream_runtime
from millstream.object_files import read_object

FILES = ["kernel.o", "step.c", "step.h", "weights.S", "weights.bin"]


@pytest.fixture(scope="module")
def exported(millstream: Command, room: Path) -> tuple[Path, str]:
    """A bundle for a microcontroller, for another Linux and for two levels of this; and what was said."""
    path = room / "elsewhere.mill"
    targets = ("cortex-m7", "aarch64-linux", "x86-64-v2", "x86-64-v3")
    named = [word for target in targets for word in ("--target", target)]
    result = millstream("export", *_gated(room), *named, "--flash", "32K", "--ram", "4K", "-o", path)
    assert result.exit_code == 0, result.stderr
    return path, result.stdout


@pytest.fixture(scope="module")
def bundle(exported: tuple[Path, str]) -> Path:
    return exported[0]


def _gated(room: Path) -> tuple[str, ...]:
    return (f"{room}/user.py:gated", "--example", str(room / "data.npz"))


def _code(bundle: Path) -> int:
    return read_object(millstream_runtime.read(bundle).members["targets/cortex-m7/kernel.o"]).code


def test_an_export_says_what_the_device_must_have(exported: tuple[Path, str]) -> None:
    path, text = exported
    # 20,096 bytes of constants, packed; hidden state of 37 floats twice, and scratch.
    assert f"flash {20_096 + _code(path):,} B ({_code(path):,} B of it code), RAM 1,340 B a stream" in text


def test_inspect_counts_code_and_constants(millstream: Command, bundle: Path) -> None:
    target = json.loads(millstream("inspect", bundle, "--json").stdout)["targets"][0]
    assert target["flash_bytes"] == target["memory"]["weights"] + _code(bundle)
    assert target["ram_bytes"] == 2 * target["memory"]["state"] + target["memory"]["scratch"]
    text = millstream("inspect", bundle).stdout
    assert f"cortex-m7, without Python: flash {target['flash_bytes']:,} B" in text
    assert "linux aarch64\n" in text.replace(" \n", "\n").replace("  ", "")


def test_code_counts_against_the_budget(
    millstream: Command, room: Path, bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "refused.mill"
    # What the constants alone would fit.
    result = millstream("export", *_gated(room), "--target", "cortex-m7", "--flash", "20100", "-o", path)
    assert result.exit_code == 1
    assert not path.exists()
    assert f"flash {20_096 + _code(bundle):,} B with {_code(bundle):,} B of code of 20,100 B" in result.stderr
    assert "cell 16,428 B" in result.stderr


def test_verify_proves_every_target_and_says_how(millstream: Command, bundle: Path) -> None:
    result = millstream("verify", bundle, "--json")
    assert result.exit_code == 0, result.stderr
    verdicts = {v["target"]: v for v in json.loads(result.stdout)["backends"]}
    assert all(verdict["passed"] for verdict in verdicts.values())
    assert verdicts["cortex-m7"]["why"] == "runs without Python; emulated here to be verified"
    assert verdicts["aarch64-linux"]["why"] == "is for another machine; emulated here to be verified"
    assert verdicts["x86-64-v3"]["why"] == ""
    named = json.loads(millstream("verify", bundle, "--backend", "tvm", "--json").stdout)["backends"]
    assert [verdict["target"] for verdict in named] == ["aarch64-linux", "x86-64-v2", "x86-64-v3"]


def test_verify_without_an_emulator_names_the_line_that_installs_it(
    millstream: Command, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = millstream("verify", bundle, "--backend", "object")
    assert result.exit_code == 3
    assert "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm" in result.stderr
    # The others are verified all the same.
    others = json.loads(millstream("verify", bundle, "--json").stdout)["backends"]
    passed = {verdict["target"]: verdict["passed"] for verdict in others}
    assert (passed["cortex-m7"], passed["aarch64-linux"], passed["x86-64-v3"]) == (None, None, True)


def test_bench_leaves_other_machines_to_themselves(millstream: Command, bundle: Path) -> None:
    measured = json.loads(millstream("bench", bundle, "--frames", 9, "--json").stdout)["backends"]
    by_target = {one["target"]: one for one in measured}
    assert [name for name, one in by_target.items() if one["speed"]] == [
        "x86-64-v2",
        "x86-64-v3",
        "onnxruntime",
    ]
    assert by_target["cortex-m7"]["why"] == "runs without Python: measure it on its device"
    assert by_target["aarch64-linux"]["why"] == "is for another machine: measure it on its device"


def test_a_device_takes_the_target_that_makes_most_of_it(bundle: Path) -> None:
    for backend in (None, "tvm"):
        assert millstream_runtime.load(bundle, backend).target.name == "x86-64-v3"


def test_extract_writes_the_files_of_a_kernel(millstream: Command, bundle: Path, tmp_path: Path) -> None:
    millstream("extract", bundle, "--target", "cortex-m7", "-o", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_a_level_that_this_cpu_lacks_is_refused_at_its_proof(
    millstream: Command, room: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("millstream_runtime.machine._linux_features", lambda: ("ssse3", "cx16"))
    result = millstream("export", *_gated(room), "--target", "x86-64-v2", "-o", tmp_path / "b.mill")
    assert result.exit_code == 1
    assert "lacks features that the target was compiled for: popcnt, sse4_1, sse4_2" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_target_that_cannot_be_proved_here_is_refused_before_any_work(
    millstream: Command, room: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    named = ("--target", "wasm32", "--target", "riscv64-linux")
    result = millstream("export", *_gated(room), *named, "-o", tmp_path / "b.mill")
    assert result.exit_code == 3
    assert "apt install clang lld nodejs" in result.stderr
    assert "gcc-riscv64-linux-gnu" in result.stderr
