"""A device on this machine: a real sshd on a free port, with keys of its own, as an ordinary process.

Its Python has NumPy and nothing else. What the device shall be besides is a matter of its surroundings:
programs in `bin` come before those of the system, and `device_ways.c` stands before the C library, so that
programs of another architecture run, or a disk is full.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest

_SSHD = "/usr/sbin/sshd"
_PATIENCE_S = 10.0
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class SshDevice:
    """`address` is for --device, `config` for --ssh-config; deployments lie in `home`, and `bin` comes first
    in its PATH."""

    address: str
    config: Path
    home: Path
    bin: Path
    port: int

    @property
    def folder(self) -> str:
        return str(self.home / "deployed")

    def program(self, name: str, text: str) -> None:
        """Put a program of that name before the system's."""
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def python(self, folder: Path, *packages: str) -> None:
        """Let `python3` be one that has these packages of ours and no others."""
        # A link would forget the environment that it leads to.
        self.program("python3", f'#!/bin/sh\nexec "{python_with(folder, *packages)}" "$@"\n')

    def versions(self) -> list[str]:
        """What lies in `versions`, sorted."""
        return sorted(path.name for path in (Path(self.folder) / "versions").glob("*"))

    def current(self) -> list[str]:
        """The ids of the present version and of the one before, where there is one."""
        return (Path(self.folder) / "current").read_text().split()


@contextlib.contextmanager
def ssh_device(folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[SshDevice]:
    """Start sshd and stop it; `variables` stand in the environment of every command there."""
    for name in ("ssh", "ssh-keygen"):
        if not shutil.which(name):
            pytest.fail(f"{name} is not installed; to fix: apt install openssh-client")
    if not os.path.exists(_SSHD):
        pytest.fail("sshd is not installed; to fix: apt install openssh-server")
    home, bin = folder / "home", folder / "bin"
    home.mkdir()
    bin.mkdir()
    for key in ("host", "user"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key)
    port = _free_port()
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    surroundings = {"HOME": str(home), "PATH": f"{bin}:/usr/bin:/bin", **(variables or {})}
    (folder / "sshd_config").write_text(_server(folder, port, _shell(folder, surroundings)))
    config = folder / "ssh_config"
    config.write_text(_client(folder))
    trust(folder, folder / "host.pub")
    os.makedirs("/run/sshd", exist_ok=True)  # where sshd sheds its rights
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen([_SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        _wait_for(port, folder / "sshd.log")
        device = SshDevice(f"ssh://127.0.0.1:{port}", config, home, bin, port)
        device.python(folder / "python", "numpy")
        yield device
    finally:
        server.terminate()
        server.wait(_PATIENCE_S)


def trust(folder: Path, key: Path) -> None:
    """Let the client know this key as the device's, and no other."""
    (folder / "known").write_text(f"device {key.read_text()}")


def python_with(folder: Path, *packages: str) -> Path:
    """A Python in which these packages of ours can be imported, and no others."""
    venv.create(folder)
    (ours,) = {Path(numpy.__path__[0]).parent}
    site = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    for name in packages:
        for path in (*ours.glob(name), *ours.glob(f"{name}.libs"), *ours.glob(f"{name}-*.dist-info")):
            (site / path.name).symlink_to(path)
    return folder / "bin/python3"


def ways() -> Path:
    """`device_ways.c` as a library."""
    library = Path(tempfile.mkdtemp(prefix="millstream-ways-")) / "ways.so"
    _run(
        "cc",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        _HERE / "device_ways.c",
        "-ldl",
        "-o",
        library,
    )
    return library


def _shell(folder: Path, variables: Mapping[str, str]) -> Path:
    """What runs every command, so that nothing of this user's own shell and its settings comes in."""
    path = folder / "shell"
    assignments = " ".join(f"'{name}={value}'" for name, value in variables.items())
    text = f'#!/bin/sh\ncd "{folder}/home"\nexec env -i {assignments} sh -c "$SSH_ORIGINAL_COMMAND"\n'
    path.write_text(text)
    path.chmod(0o755)
    return path


def _server(folder: Path, port: int, shell: Path) -> str:
    return f"""
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
ForceCommand {shell}
"""


def _client(folder: Path) -> str:
    return f"""
Host *
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  HostKeyAlias device
  LogLevel ERROR
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port: int, log: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    pytest.fail(f"sshd does not answer: {log.read_text()}")


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
