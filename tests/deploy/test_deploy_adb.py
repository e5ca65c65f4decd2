"""Deployments through adb, whose server is a peer that speaks the protocol: no phone has been tried."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import adbutils
import numpy as np
import pytest
from adb_peer import AdbPeer, adb_peer
from small_models import GatedRecurrence, frames

from millstream.deploy.adb import Adb
from millstream.deploy.building import Workshop
from millstream.deploy.deploying import Wanted, deploy, rollback
from millstream.deploy.errors import DeviceUnreachable, NothingToRollBack, TransferBroken
from millstream_runtime import load

SERIAL = "0123456789ABCDEF"


@pytest.fixture
def phone(monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbPeer]:
    with adb_peer(SERIAL) as peer:
        monkeypatch.setattr(adbutils, "adb", adbutils.AdbClient("127.0.0.1", peer.port))
        yield peer


def test_output_errors_exit_code_and_input_are_kept_apart(phone: AdbPeer) -> None:
    given = bytes(range(256)) * 2000
    done = Adb(SERIAL).run('cat; echo "$1" >&2; exit 7', "it's $HOME", given=given)
    assert (done.code, done.output, done.errors) == (7, given, "it's $HOME\n")


def test_a_command_that_does_not_read_its_input(phone: AdbPeer) -> None:
    assert Adb(SERIAL).run("exit 3", given=bytes(3_000_000)).code == 3


def test_a_static_program_is_deployed_and_rolled_back(
    phone: AdbPeer, older: Workshop, newer: Workshop, tmp_path: Path
) -> None:
    wanted = Wanted(folder=str(tmp_path / "deployed"), no_python=True)
    first = deploy(Adb(SERIAL), older, wanted)
    found = deploy(Adb(SERIAL), newer, wanted)
    assert (found.device, found.target) == (f"adb:{SERIAL}", "c")
    x = frames(GatedRecurrence, 7).numpy()
    done = subprocess.run([f"{wanted.folder}/run"], input=x.tobytes(), capture_output=True, check=True)
    with load(newer.bundle.path).stream() as stream:
        # Two backends, each within 1e-5 of the reference.
        np.testing.assert_allclose(
            np.frombuffer(done.stdout, np.float32).reshape(7, 3), stream.push(x), atol=2e-5
        )
    assert rollback(Adb(SERIAL), wanted.folder) == first.version


def test_a_phone_that_is_unplugged(phone: AdbPeer, newer: Workshop, tmp_path: Path) -> None:
    wanted = Wanted(folder=str(tmp_path / "deployed"), no_python=True)
    phone.cut_after = 100_000
    with pytest.raises(TransferBroken):
        deploy(Adb(SERIAL), newer, wanted)
    with pytest.raises(NothingToRollBack):
        rollback(Adb(SERIAL), wanted.folder)


def test_a_phone_that_is_not_there(phone: AdbPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceUnreachable, match="not found"):
        Adb("other").run("true")
    monkeypatch.setattr(adbutils, "adb", adbutils.AdbClient("127.0.0.1", 1))
    monkeypatch.setenv("PATH", "/nonexistent")  # adbutils would start a server of its own
    with pytest.raises(DeviceUnreachable):
        Adb(SERIAL).run("true")
