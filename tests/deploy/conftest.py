"""Two versions of a model, one that is wrong, and a device behind a real sshd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_models import GatedRecurrence, RunningMean, frames, seeded
from ssh_device import SshDevice, ssh_device

import millstream
from millstream import package
from millstream.deploy.building import Workshop
from millstream.exporting import Exported
from millstream_runtime import read


@pytest.fixture(scope="session")
def exports() -> tuple[Exported, Exported]:
    """Two models under one name, for CPUs like this one; the second as C sources too."""
    about = millstream.About(name="gate")
    older, newer = RunningMean, GatedRecurrence
    return (
        millstream.export(seeded(older), frames(older, 2, 21), "cpu", about=about),
        millstream.export(seeded(newer), frames(newer, 2, 21), ("cpu", "c"), about=about),
    )


@pytest.fixture(scope="session")
def bundles(
    exports: tuple[Exported, Exported], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Their files, the older first."""
    folder = tmp_path_factory.mktemp("bundles")
    for number, exported in enumerate(exports):
        exported.save(folder / f"{number}.mill")
    return folder / "0.mill", folder / "1.mill"


@pytest.fixture(scope="session")
def older(bundles: tuple[Path, Path]) -> Workshop:
    return Workshop(read(bundles[0]))


@pytest.fixture(scope="session")
def newer(bundles: tuple[Path, Path]) -> Workshop:
    return Workshop(read(bundles[1]))


@pytest.fixture(scope="session")
def wrong(exports: tuple[Exported, Exported], tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The newer one, whose golden sequence asks for other numbers than the step gives."""
    contents = exports[1].contents
    outputs = tuple(np.array(values) + np.float32(1) for values in contents.golden.outputs)
    path = tmp_path_factory.mktemp("wrong") / "wrong.mill"
    package.write(path, replace(contents, golden=replace(contents.golden, outputs=outputs)))
    return Workshop(read(path))


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SshDevice]:
    with ssh_device(tmp_path) as made:
        yield made
