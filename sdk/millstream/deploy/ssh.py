"""A device behind SSH, through the system's own `ssh`: keys, agent, configuration and known hosts are its."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass

from millstream.deploy.connection import Done
from millstream.deploy.errors import (
    DeployError,
    DeviceUnreachable,
    HostKeyRefused,
    LoginRefused,
    TransferBroken,
)
from millstream.errors import ToolMissing

#: What ssh itself exits with when the connection is at fault.
_SSH_FAILED = 255
#: Nobody is there to be asked; a device that does not answer is given up.
_OPTIONS = (
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)
_MARKS = (
    ("Host key verification failed", HostKeyRefused),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", HostKeyRefused),
    ("Permission denied", LoginRefused),
    ("Too many authentication failures", LoginRefused),
)
#: Said when there was no connection at all.
_NOT_REACHED = (
    *("Connection refused", "Could not resolve hostname", "No route to host", "Network is unreachable"),
    *("Connection timed out", "Operation timed out", "kex_exchange_identification", "Bad configuration"),
)
_FIXES = {
    HostKeyRefused: "compare its key with one that you trust, then run ssh by hand, or ssh-keygen -R first",
    LoginRefused: "put your public key there with ssh-copy-id, or name the user: ssh://user@host",
    DeviceUnreachable: "try ssh by hand: is the device on, is the name right, does sshd run?",
    TransferBroken: "deploy again; the version that was there is unchanged",
}


@dataclass(frozen=True)
class Ssh:
    """See `connection.Connection`. `user`, `port` and `config` (a file for ssh -F) may be left to ssh."""

    host: str
    user: str = ""
    port: int | None = None
    config: str = ""

    @property
    def name(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"ssh://{self.user}{'@' if self.user else ''}{self.host}{port}"

    @property
    def home(self) -> str:
        return ""

    def run(self, script: str, *arguments: str, given: bytes = b"") -> Done:
        remote = " ".join(map(shlex.quote, ("sh", "-c", script, "sh", *arguments)))
        # The messages are read, so they are asked for in English.
        surroundings = os.environ | {"LC_ALL": "C"}
        done = subprocess.run([*self._command(), remote], input=given, capture_output=True, env=surroundings)
        errors = done.stderr.decode(errors="replace")
        if done.returncode == _SSH_FAILED or done.returncode < 0:
            raise self._failure(errors)
        return Done(done.returncode, done.stdout, errors)

    def _command(self) -> list[str]:
        program = shutil.which("ssh")
        if program is None:
            raise ToolMissing("ssh is not installed", fix="apt install openssh-client")
        chosen = ["-F", self.config] if self.config else []
        chosen += ["-l", self.user] if self.user else []
        chosen += ["-p", str(self.port)] if self.port else []
        return [program, *_OPTIONS, *chosen, "--", self.host]

    def _failure(self, errors: str) -> DeployError:
        said = [line.strip() for line in errors.splitlines() if line.strip()]
        kind = next((kind for mark, kind in _MARKS if mark in errors), None)
        if kind is None:
            reached = not any(mark in errors for mark in _NOT_REACHED)
            kind = TransferBroken if reached else DeviceUnreachable
        words = {
            HostKeyRefused: "the key of the device is not one that is known",
            LoginRefused: "the device refuses the login",
            DeviceUnreachable: "the device cannot be reached",
            TransferBroken: "the connection to the device broke",
        }
        return kind(
            words[kind], where=self.name, why=said[-1] if said else "ssh said nothing", fix=_FIXES[kind]
        )
