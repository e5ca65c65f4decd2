"""The arguments that the benchmarks share, and the folder of converted files."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workloads import WORKLOADS


def parser(documentation: str) -> argparse.ArgumentParser:
    """The workloads. The first line of `documentation` describes the program."""
    made = argparse.ArgumentParser(description=documentation.partition("\n")[0])
    made.add_argument("workloads", nargs="?", default="ABCD", help=f"letters among {''.join(WORKLOADS)}")
    return made


def add_folder(made: argparse.ArgumentParser) -> None:
    """Where converted files are kept; without, they are made anew and thrown away."""
    made.add_argument("--folder", type=Path, help="keep converted files here, and use those that are there")


def add_json(made: argparse.ArgumentParser) -> None:
    """Where the figures go beside the terminal."""
    made.add_argument("--json", type=Path, help="write the figures here")


def add_peers(made: argparse.ArgumentParser) -> None:
    """The Python in which peers are installed; without, those count that are installed in this one."""
    made.add_argument("--peers", default=sys.executable, help="a Python that has the peers installed")


@contextmanager
def room(folder: Path | None) -> Iterator[Path]:
    """The folder asked for, or a temporary one."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
