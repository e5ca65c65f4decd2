"""Every command of the tutorials runs: the blocks marked `sh` of a page in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted((ROOT / "docs/tutorials").glob("*.md"))
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As after an installation: `millstream` and `python` are this project's."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("millstream", "-m millstream"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        program.chmod(0o755)
    rooms = os.pathsep.join(str(ROOT / room) for room in ("sdk", "runtimes", "hw", "models"))
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": rooms, "MILLSTREAM": str(ROOT)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    commands = _BLOCK.findall(page.read_text())
    assert commands
    room = tmp_path / "room"
    room.mkdir()
    script = "set -euo pipefail\n" + "".join(commands)
    done = subprocess.run(
        ["bash", "-c", script], cwd=room, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{page.name}:\n{done.stdout}\n{done.stderr}"


def test_every_page_is_in_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs')}\n" in navigation, f"{page} is in no menu"
