"""`export --demo`: asked for without target web it is refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Command

import millstream_runtime
from millstream.errors import UsageError
from millstream.web_demo import write_demo


def test_a_demo_needs_the_target(millstream: Command, room: Path, tmp_path: Path) -> None:
    options = ("--target", "numba", "--example", room / "data.npz", "--demo", tmp_path / "site")
    result = millstream("export", f"{room}/user.py:gated", *options, "-o", tmp_path / "b.mill")
    assert result.exit_code == 2
    assert "add --target web" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_the_target_gives_no_demo(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing for a browser"):
        write_demo(millstream_runtime.read(bundle), str(tmp_path / "site"))
    assert not list(tmp_path.iterdir())
