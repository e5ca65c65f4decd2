"""One bundle in fixed point and one build of it, compiled once for all tests of this room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_models import GatedRecurrence, seeded
from typer.testing import CliRunner

import millstream
from millstream.cli.app import app
from millstream.quantize import FORMATS


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
def built(fpga, bundle: Path) -> Path:
    """A build with 5 lanes, which divide neither 111 gates nor 3 outputs."""
    folder = bundle.parent / "build"
    result = fpga("build", bundle, "--part", "lfe5u-25f", "--lanes", 5, "-o", folder)
    assert result.exit_code == 0, result.stderr
    return folder
