"""`--target c` through the command line: export with a budget, inspect, verify, bench, extract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

import millstream_runtime
from millstream.budget import read_size
from millstream.errors import UsageError

SOURCES = ["step.c", "step.h", "weights.c"]


@pytest.fixture(scope="module")
def with_sources(millstream: Command, room: Path) -> Path:
    path = room / "sources.mill"
    budget = ("--flash", "32K", "--ram", 4096)
    result = millstream("export", *_gated(room), "--target", "c", *budget, "-o", path)
    assert result.exit_code == 0, result.stderr
    return path


def _gated(room: Path) -> tuple[str, ...]:
    return (f"{room}/user.py:gated", "--example", str(room / "data.npz"))


def test_the_budget_is_stored_with_the_options(with_sources: Path) -> None:
    options = millstream_runtime.read(with_sources).manifest.options
    assert (options["flash"], options["ram"]) == (32 * 1024, 4096)


def test_a_step_beyond_the_budget_is_refused_with_its_largest_buffers(
    millstream: Command, room: Path, tmp_path: Path
) -> None:
    path = tmp_path / "refused.mill"
    budget = ("--flash", "16K", "--ram", 500)
    result = millstream("export", *_gated(room), "--target", "c", *budget, "-o", path)
    assert result.exit_code == 1
    assert not path.exists()
    # Recurrent weights are 111 x 37 and the hidden state is 37 wide, all float32.
    assert "flash 19,992 B of 16,384 B" in result.stderr
    assert "cell 16,428 B" in result.stderr
    assert "RAM 1,340 B of 500 B" in result.stderr
    assert "state hidden, twice, 296 B" in result.stderr


def test_a_budget_without_a_target_for_it_is_a_usage_error(millstream: Command, room: Path) -> None:
    result = millstream("export", *_gated(room), "--target", "numba", "--ram", "4K")
    assert result.exit_code == 2
    assert "--target c" in result.stderr


def test_inspect_tells_flash_and_ram(millstream: Command, with_sources: Path) -> None:
    target, _ = json.loads(millstream("inspect", with_sources, "--json").stdout)["targets"]
    memory = target["memory"]
    assert target["flash_bytes"] == memory["weights"]
    assert target["ram_bytes"] == 2 * memory["state"] + memory["scratch"]
    assert f"flash {memory['weights']:,} B" in millstream("inspect", with_sources).stdout


def test_verify_proves_the_sources_and_says_how(millstream: Command, with_sources: Path) -> None:
    for backend in ((), ("--backend", "c")):
        result = millstream("verify", with_sources, *backend, "--json")
        assert result.exit_code == 0, result.stderr
        (verdict,) = (v for v in json.loads(result.stdout)["backends"] if v["backend"] == "c")
        assert verdict["passed"]
        assert "without Python" in verdict["why"]


def test_verify_without_a_compiler_names_the_line_that_installs_it(
    millstream: Command, with_sources: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = millstream("verify", with_sources, "--backend", "c")
    assert result.exit_code == 3
    assert "apt install gcc" in result.stderr


def test_bench_leaves_the_sources_to_their_device(millstream: Command, with_sources: Path) -> None:
    measured = json.loads(millstream("bench", with_sources, "--frames", 9, "--json").stdout)["backends"]
    (sources,) = (one for one in measured if one["backend"] == "c")
    assert sources["speed"] is None
    assert "device" in sources["why"]


def test_extract_writes_the_files_of_the_target(
    millstream: Command, with_sources: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "folder"
    folder.parent.mkdir()
    result = millstream("extract", with_sources, "--target", "c", "-o", folder, "--json")
    assert json.loads(result.stdout)["files"] == [str(folder / name) for name in SOURCES]
    bundle = millstream_runtime.read(with_sources)
    for name in SOURCES:
        assert (folder / name).read_bytes() == bundle.members[f"targets/c/{name}"]
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == SOURCES


def test_extract_overwrites_only_when_told_and_leaves_other_files(
    millstream: Command, with_sources: Path, tmp_path: Path
) -> None:
    mine, other = tmp_path / "step.h", tmp_path / "main.c"
    mine.write_text("mine")
    other.write_text("other")
    command = ("extract", with_sources, "--target", "c", "-o", tmp_path)
    refused = millstream(*command)
    assert refused.exit_code == 2
    assert "step.h" in refused.stderr
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".c"] == ["main.c"]
    assert mine.read_text() == "mine"
    assert millstream(*command, "--force").exit_code == 0
    assert "millstream" in mine.read_text().lower()
    assert other.read_text() == "other"


def test_extract_checks_the_bundle_first(millstream: Command, with_sources: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mill"
    data = bytearray(with_sources.read_bytes())
    data[data.index(b"One step of gated") + 4] ^= 1
    damaged.write_bytes(data)
    result = millstream("extract", damaged, "--target", "c", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_extract_of_a_target_that_is_not_there(
    millstream: Command, with_sources: Path, tmp_path: Path
) -> None:
    result = millstream("extract", with_sources, "--target", "cpu", "-o", tmp_path)
    assert result.exit_code == 2
    assert "c, onnxruntime" in result.stderr


def test_extract_where_nothing_can_be_written(
    millstream: Command, with_sources: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = millstream("extract", with_sources, "--target", "c", "-o", tmp_path / "file" / "folder")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("4096", 4096), ("512K", 524288), ("2M", 2097152)])
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "12k", "1.5K", "-3", "²K"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError):
        read_size(text)
