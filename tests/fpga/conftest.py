"""One bundle in fixed point and one build of it, compiled once for all tests of this room."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_models import GatedRecurrence, seeded
from typer.testing import CliRunner

import millstream
from millstream.cli.app import app
from millstream.quantize import FORMATS
from millstream_hw.board import simulated


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gated recurrence (a GRU of 37, a layer of 3) in fixed point, for onnxruntime alone."""
    path = tmp_path_factory.mktemp("fpga") / "gated.mill"
    x = np.random.default_rng(0).standard_normal((6, 20, 5)).astype(np.float32)
    millstream.export(seeded(GatedRecurrence), x, target=(), format=FORMATS["fixed16"]).save(path)
    return path


@pytest.fixture(scope="session")
def fpga():
    """Run `millstream fpga` in this process: `fpga("plan", path)`."""

    def run(*arguments: object):
        return CliRunner().invoke(app, ["fpga", *(str(argument) for argument in arguments)])

    return run


@pytest.fixture(scope="session")
def built(fpga, bundle: Path, tmp_path_factory) -> Path:
    """A build with 5 lanes, which divide neither 111 gates nor 3 outputs."""
    folder = tmp_path_factory.mktemp("built") / "build"
    result = fpga("build", bundle, "--part", "lfe5u-25f", "--lanes", 5, "-o", folder)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def packed_for(fpga, bundle: Path, tmp_path_factory):
    """Pack the gated recurrence for a board: `packed_for("ulx3s")` gives the bundle, the folder of the
    simulated board that proved it, and what was said. 4 lanes, once for each board."""

    @functools.cache
    def pack(board: str) -> tuple[Path, str, str]:
        folder = tmp_path_factory.mktemp("packed")
        path, kept = folder / "packed.mill", folder / "simulated"
        compile_board = simulated.compile_board

        def keeping(folder: str, *rest: object) -> None:
            compile_board(folder, *rest)
            shutil.copytree(folder, kept)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(simulated, "compile_board", keeping)
            done = fpga("pack", bundle, "--board", board, "--lanes", 4, "-o", path)
        assert done.exit_code == 0, done.stderr
        return path, str(kept), done.stdout

    return pack
