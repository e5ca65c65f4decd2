"""Deployments to a real sshd: what arrives, what stays when anything fails, and what is said of it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from c_machines import tool
from cut_link import CutLink
from small_models import GatedRecurrence, RunningMean, frames
from ssh_device import SshDevice, ssh_device, trust, ways

from millstream.deploy import scripts
from millstream.deploy.building import Workshop
from millstream.deploy.connection import Done
from millstream.deploy.deploying import Deployed, Wanted, deploy, rollback
from millstream.deploy.errors import (
    DeployError,
    DeviceFull,
    DeviceIncapable,
    DeviceProofFailed,
    DeviceUnreachable,
    HostKeyRefused,
    LoginRefused,
    NoTargetFits,
    NothingToRollBack,
    PythonMissing,
    TransferBroken,
)
from millstream.deploy.payload import Payload
from millstream.deploy.probe import probe
from millstream.deploy.ssh import Ssh
from millstream_runtime import load

#: A `uname` of another machine.
ARM = '#!/bin/sh\n[ "$1" = -m ] && echo aarch64 || /bin/uname "$@"\n'
#: The machine's number in an ELF file.
AARCH64 = 183
FRAMES = frames(GatedRecurrence, 12).numpy()


def link(device: SshDevice, port: int | None = None) -> Ssh:
    return Ssh("127.0.0.1", "", port or device.port, str(device.config))


def wanted(device: SshDevice, **changes: object) -> Wanted:
    return replace(Wanted(folder=device.folder), **changes)


def send(device: SshDevice, workshop: Workshop, **changes: object) -> Deployed:
    return deploy(link(device), workshop, wanted(device, **changes))


def outputs(device: SshDevice, rows: np.ndarray = FRAMES) -> np.ndarray:
    """What the deployed `run` makes of frames, started on the device."""
    done = link(device).run('exec "$1/run"', device.folder, given=rows.tobytes())
    assert done.code == 0, done.errors
    return np.frombuffer(done.output, np.float32).reshape(len(rows), -1)


def want(workshop: Workshop, rows: np.ndarray = FRAMES) -> np.ndarray:
    with load(workshop.bundle.path).stream() as stream:
        return np.stack(stream.push(rows))


def test_a_device_with_python_and_numpy(device: SshDevice, newer: Workshop) -> None:
    found = send(device, newer)
    assert (found.target, found.version) == ("cpu", device.current()[0])
    assert 0 <= found.largest <= found.bound
    assert 0 < found.median_us <= found.p99_us
    assert device.versions() == [found.version]
    # The device has the same CPU and the same code as this host.
    np.testing.assert_array_equal(outputs(device), want(newer))
    report = json.loads((Path(device.folder) / "versions" / found.version / "report.json").read_text())
    assert (report["target"], report["median_us"]) == ("cpu", found.median_us)
    # What runs there is the runtime that was sent: the device has no other.
    packages = f"{device.folder}/versions/{found.version}/packages"
    asked = "PYTHONPATH=$1 python3 -c 'import millstream_runtime as m; print(m.__file__)'"
    assert link(device).run(asked, packages).output.decode().startswith(packages)
    assert link(device).run("python3 -c 'import millstream_runtime'").code == 1


def test_two_versions_are_kept_and_change_places(device: SshDevice, older: Workshop, newer: Workshop) -> None:
    with pytest.raises(NothingToRollBack):
        rollback(link(device), device.folder)
    first = send(device, older)
    with pytest.raises(NothingToRollBack):
        rollback(link(device), device.folder)
    second = send(device, newer)
    assert device.current() == [second.version, first.version]
    assert device.current() == [second.version, first.version]
    assert rollback(link(device), device.folder) == first.version
    rows = np.ones((5, 4), np.float32)
    np.testing.assert_array_equal(outputs(device, rows), want(older, rows))
    assert rollback(link(device), device.folder) == second.version
    np.testing.assert_array_equal(outputs(device), want(newer))
    # The same again changes nothing; another one drives out the oldest.
    assert send(device, newer).version == second.version
    assert device.current() == [second.version, first.version]
    third = send(device, newer, no_python=True)
    assert device.current() == [third.version, second.version]
    assert device.versions() == sorted((third.version, second.version))


@pytest.mark.parametrize("no_python", [False, True])
def test_wrong_numbers_leave_the_version_before(
    device: SshDevice, newer: Workshop, wrong: Workshop, no_python: bool
) -> None:
    good = send(device, newer)
    with pytest.raises(DeviceProofFailed, match="output"):
        send(device, wrong, no_python=no_python)
    assert (device.versions(), device.current()) == ([good.version], [good.version])
    np.testing.assert_array_equal(outputs(device), want(newer))


def test_the_link_is_cut_anywhere(device: SshDevice, older: Workshop, newer: Workshop) -> None:
    good = send(device, newer)
    with CutLink(device.port) as whole:
        other = deploy(link(device, whole.port), older, wanted(device, folder=f"{device.folder}-measured"))
    for part in (0.02, 0.5, 0.97, 0.995):
        with CutLink(device.port, whole.carried * part) as cut, pytest.raises(DeployError) as caught:
            deploy(link(device, cut.port), older, wanted(device))
        assert isinstance(caught.value, TransferBroken | DeviceUnreachable), part
        assert device.current()[0] == good.version, part
    np.testing.assert_array_equal(outputs(device), want(newer))
    # Whatever the cut ones left is gone after the next one.
    assert send(device, older).version == other.version
    assert device.versions() == sorted((good.version, other.version))


def test_what_arrived_in_part_is_removed_at_once(device: SshDevice) -> None:
    # More than ssh sends before the command there has begun to read.
    archive = Payload({"model.mill": bytes(6_000_000)}).archive()
    with CutLink(device.port, 5_000_000) as cut, pytest.raises(TransferBroken):
        link(device, cut.port).run(scripts.RECEIVE, device.folder, "0" * 16, "0" * 64, "", given=archive)
    assert (Path(device.folder) / "versions").exists()
    end = time.monotonic() + 5
    while device.versions() and time.monotonic() < end:
        time.sleep(0.05)
    assert device.versions() == []


def test_a_changed_byte_is_found(device: SshDevice) -> None:
    payload = Payload({"model.mill": bytes(5000)})
    archive = bytearray(payload.archive())
    archive[700] ^= 1
    for given in (bytes(archive), payload.archive()[:4096]):
        done = link(device).run(
            scripts.RECEIVE, device.folder, payload.id, payload.sha256, "python3", given=given
        )
        assert done.code != 0
        assert device.versions() == []


def test_a_disk_that_is_known_to_be_full(device: SshDevice, newer: Workshop) -> None:
    device.program("df", "#!/bin/sh\necho Filesystem\necho /dev/sda 1000 900 100 90% /\n")
    with pytest.raises(DeviceFull, match="102,400 are free"):
        send(device, newer)
    assert not Path(device.folder).exists()


def test_a_disk_that_fills_up(tmp_path: Path, older: Workshop, newer: Workshop) -> None:
    with ssh_device(tmp_path) as device:
        good = send(device, older)
        device.program("tar", f'#!/bin/sh\nLD_PRELOAD={ways()} DISK_BYTES=30000 exec /bin/tar "$@"\n')
        with pytest.raises(DeviceFull, match="No space left"):
            send(device, newer)
        assert (device.versions(), device.current()) == ([good.version], [good.version])


def test_a_key_that_is_not_the_known_one(tmp_path: Path, newer: Workshop) -> None:
    with ssh_device(tmp_path) as device:
        trust(tmp_path, tmp_path / "user.pub")
        with pytest.raises(HostKeyRefused):
            send(device, newer)
        (tmp_path / "known").write_text("")
        with pytest.raises(HostKeyRefused):
            send(device, newer)


def test_a_login_that_is_refused(tmp_path: Path, newer: Workshop) -> None:
    with ssh_device(tmp_path) as device:
        (tmp_path / "authorized").write_text("")
        with pytest.raises(LoginRefused):
            send(device, newer)


def test_code_that_does_not_run_there(device: SshDevice, newer: Workshop) -> None:
    """A machine that says that it is 64-bit ARM, and is not."""
    good = send(device, newer, no_python=True)
    device.program("uname", ARM)
    with pytest.raises(DeviceProofFailed, match=r"(?i)exec format error"):
        send(device, newer, no_python=True)
    assert (device.versions(), device.current()) == ([good.version], [good.version])


@pytest.mark.parametrize("no_python", [False, True])
def test_a_machine_that_nothing_is_made_for(device: SshDevice, newer: Workshop, no_python: bool) -> None:
    device.program("uname", '#!/bin/sh\n[ "$1" = -m ] && echo mips || /bin/uname "$@"\n')
    with pytest.raises(NoTargetFits, match="mips"):
        send(device, newer, no_python=no_python)


def test_a_64_bit_arm_runs_the_static_program(tmp_path: Path, older: Workshop) -> None:
    surroundings = {"LD_PRELOAD": str(ways()), "EMULATOR": tool("qemu-aarch64-static")}
    with ssh_device(tmp_path, surroundings) as device:
        device.program("uname", ARM)
        found = send(device, older, no_python=True)
        assert (found.target, found.machine) == ("android-arm64", "linux aarch64")
        assert found.notes == ("android-arm64 was built now",)
        rows = frames(RunningMean, 9).numpy()
        # Sums in another order than this machine's.
        np.testing.assert_allclose(outputs(device, rows), want(older, rows), atol=1e-5)
        program = Path(device.folder) / "versions" / found.version / "step"
        assert program.read_bytes()[18] == AARCH64


def test_a_device_without_numpy_or_without_python(tmp_path: Path, device: SshDevice, newer: Workshop) -> None:
    device.python(tmp_path / "bare")
    with pytest.raises(PythonMissing, match="--with-numpy"):
        send(device, newer)
    device.program("python3", "#!/bin/sh\nexit 127\n")
    with pytest.raises(PythonMissing, match="--no-python"):
        send(device, newer)


def test_a_device_without_tar(device: SshDevice) -> None:
    for name in ("uname", "sed", "head", "df", "awk", "mv", "mkdir", "dirname", "getconf"):
        (device.bin / name).symlink_to(f"/usr/bin/{name}")
    with pytest.raises(DeviceIncapable, match="tar, sha256sum"):
        probe(_Narrowed(link(device), str(device.bin)), "python3", device.folder)


class _Narrowed:
    """A connection whose commands find programs in one folder only."""

    name, home = "narrow", ""

    def __init__(self, connection: Ssh, folder: str) -> None:
        self._connection, self._folder = connection, folder

    def run(self, script: str, *arguments: str, given: bytes = b"") -> Done:
        return self._connection.run(f"PATH='{self._folder}'\n{script}", *arguments, given=given)
