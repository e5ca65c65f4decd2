"""A user's file with models, and one bundle of it that all tests of this room read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import Command
from small_models import GatedRecurrence, frames, seeded
from typer.testing import CliRunner, Result

import millstream as sdk
import millstream_runtime
from millstream.cli.app import app
from millstream.quantize import FORMATS
from millstream_runtime.bundle import Bundle

#: What somebody else's file may hold.
USER_FILE = """
import torch
from small_models import ConvNet, DisagreeingForms, GatedRecurrence, MutatedBuffer, Upsampled, seeded
from torch import nn

def gated():
    print("a user's file may print")
    return seeded(GatedRecurrence)

def disagreeing():
    return seeded(DisagreeingForms)

def upsampled():
    return seeded(Upsampled)

def mutated():
    return seeded(MutatedBuffer)

def raising():
    raise RuntimeError("no weights today")

class Level(nn.Module):
    '''Mean and mean square of a window of 8 samples.'''
    def forward(self, x):
        return torch.stack((x.mean(-1), (x * x).mean(-1)), -1)
"""


@pytest.fixture(scope="session")
def millstream() -> Command:
    """Run the command line in this process: `millstream("inspect", path)`."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user's file, example data and a signing key."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "user.py").write_text(USER_FILE)
    generator = np.random.default_rng(2)
    x = generator.standard_normal((4, 12, 5)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=np.array([0, 1, 2, 0]))
    return folder


@pytest.fixture(scope="session")
def key(millstream: Command, room: Path) -> tuple[Path, str]:
    """A signing key: its file, and its public half."""
    result = millstream("keygen", room / "key.pem")
    assert result.exit_code == 0, result.stderr
    (public,) = (line.split()[-1] for line in result.stdout.splitlines() if line.startswith("public key"))
    return room / "key.pem", public


@pytest.fixture(scope="session")
def bundle(millstream: Command, room: Path, key: tuple[Path, str]) -> Path:
    """The gated recurrence for numba and onnxruntime, labelled and signed."""
    path = room / "gated.mill"
    options = ("--target", "numba", "--example", room / "data.npz", "--labelled", room / "data.npz")
    described = ("--sample-rate", 100, "--label", "red", "--label", "green", "--label", "blue")
    result = millstream("export", f"{room}/user.py:gated", *options, *described, "--sign", key[0], "-o", path)
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture(scope="session")
def windowed(millstream: Command, room: Path) -> Path:
    """A stateless model that cuts 8 kHz samples into windows of 8, 4 apart."""
    path = room / "level.mill"
    options = ("--target", "onnxruntime", "--example", "noise:8", "--hop", 4, "--sample-rate", 8000)
    result = millstream("export", f"{room}/user.py:Level", *options, "-o", path)
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture(scope="session")
def pair(room: Path) -> tuple[Bundle, Bundle]:
    """The gated recurrence in float, and with weights in int8."""
    data = frames(GatedRecurrence, 2, 20)
    for name, format in (("exact", None), ("rounded", FORMATS["w8"])):
        made = sdk.export(seeded(GatedRecurrence), data, "onnxruntime", format=format)
        made.save(room / f"{name}.mill")
    exact, rounded = (millstream_runtime.read(room / f"{n}.mill") for n in ("exact", "rounded"))
    return exact, rounded
