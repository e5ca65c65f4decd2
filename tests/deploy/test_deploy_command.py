"""`millstream deploy`: several devices at once, what is printed, exit codes; addresses and devices.toml."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ssh_device import SshDevice
from typer.testing import CliRunner, Result

from millstream.cli.app import app
from millstream.deploy.adb import Adb
from millstream.deploy.address import connect
from millstream.deploy.errors import AddressUnknown, FleetInvalid
from millstream.deploy.fleet import read_fleet
from millstream.deploy.ssh import Ssh


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["deploy", *map(str, arguments)])


def fleet(device: SshDevice, path: Path) -> Path:
    """Two devices, one of them without Python, and one that is not there, all behind one sshd."""
    closed = SshDevice("ssh://127.0.0.1:1", *(device.config, device.home, device.bin), 1)
    lines = []
    for name, one, extra in (
        ("kitchen", device, ""),
        ("gate", device, "no_python = true\n"),
        ("cellar", closed, ""),
    ):
        lines.append(f'[device.{name}]\naddress = "{one.address}"\nfolder = "{device.home}/{name}"\n{extra}')
    path.write_text("\n".join(lines))
    return path


def test_several_devices_one_of_which_is_not_there(
    device: SshDevice, bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    file = fleet(device, tmp_path / "devices.toml")
    result = command(bundles[1], "--devices", file, "--ssh-config", device.config, "--json")
    assert result.exit_code == 1, result.stdout
    entries = {entry["name"]: entry for entry in json.loads(result.stdout)["devices"]}
    assert [entries[name]["target"] for name in ("kitchen", "gate")] == ["cpu", "c"]
    assert entries["cellar"]["error"]["kind"] == "DeviceUnreachable"
    for name in ("kitchen", "gate"):
        assert (device.home / name / "run").exists()
    # The second time in columns for people.
    result = command(bundles[0], "--devices", file, "--ssh-config", device.config)
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "ok" in rows["kitchen"]
    assert "ok" in rows["gate"]
    assert "FAILED" in rows["cellar"]
    assert "Connection refused" in rows["cellar"]
    result = command(bundles[0], "--devices", file, "--ssh-config", device.config, "--rollback", "--json")
    restored = {entry["name"]: entry.get("version") for entry in json.loads(result.stdout)["devices"]}
    assert restored == {name: entries[name].get("version") for name in entries}


def test_one_device_and_its_run(device: SshDevice, bundles: tuple[Path, Path]) -> None:
    given = (bundles[1], "--device", device.address, "--ssh-config", device.config, "--folder", device.folder)
    result = command(*given, "--no-python")
    assert result.exit_code == 0, result.stderr
    assert "us per step" in result.stdout
    done = subprocess.run([f"{device.folder}/run"], input=b"\0" * 40, capture_output=True, check=True)
    assert len(done.stdout) == 2 * 3 * 4
    result = command(*given, "--rollback")
    assert (result.exit_code, "no version before" in result.stderr) == (2, True)


def test_a_device_that_is_not_there_is_an_error(bundles: tuple[Path, Path]) -> None:
    result = command(bundles[1], "--device", "ssh://127.0.0.1:1")
    assert (result.exit_code, "cannot be reached" in result.stderr) == (1, True)


def test_devices_are_named_in_one_way(bundles: tuple[Path, Path]) -> None:
    assert command(bundles[1]).exit_code == 2
    assert command(bundles[1], "--device", "ssh://a", "--devices", "b.toml").exit_code == 2


def test_addresses() -> None:
    assert connect("ssh://pi@kitchen.local:22") == Ssh("kitchen.local", "pi", 22)
    assert connect("ssh://kitchen", "file") == Ssh("kitchen", config="file")
    assert connect("adb:0123456789ABCDEF") == Adb("0123456789ABCDEF")
    assert connect("adb:192.168.1.7:5555") == Adb("192.168.1.7:5555")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "kitchen",
        "adb:",
        "ssh://",
        "ssh://pi:secret@kitchen",
        "ssh://k/folder",
        "ssh://k:port",
        "ssh://-oP@x/",
        "ssh://-oProxyCommand=x",
        "http://kitchen",
    ],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(AddressUnknown):
        connect(address)


def test_everything_that_is_wrong_with_the_devices_is_told(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(
        '[other]\n[device.a]\naddress = "kitchen"\nport = 3\n[device.b]\nno_python = "yes"\n[device]\nc = 1\n'
    )
    with pytest.raises(FleetInvalid) as caught:
        read_fleet(str(path))
    for words in (
        "[other]",
        "'kitchen' is no address",
        "device.a.port",
        "device.b.no_python",
        "device.b has no",
    ):
        assert words in str(caught.value)
    assert "device.c is no table" in str(caught.value)
    path.write_text("")
    with pytest.raises(FleetInvalid, match=r"no \[device\.NAME\]"):
        read_fleet(str(path))
    with pytest.raises(FleetInvalid, match="cannot be read"):
        read_fleet(str(tmp_path / "none.toml"))
