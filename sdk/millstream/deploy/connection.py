"""Talking to a device: one command at a time, bytes in, bytes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from millstream.deploy.errors import CommandFailed, DeployError, DeviceFull

_NO_ROOM = ("No space left on device", "Disk quota exceeded")


@dataclass(frozen=True)
class Done:
    """How a command on the device ended: its exit code and what it wrote."""

    code: int
    output: bytes
    errors: str


class Connection(Protocol):
    """A way to run commands on one device."""

    @property
    def name(self) -> str:
        """The device as messages call it."""
        ...

    @property
    def home(self) -> str:
        """The folder under which deployments lie, ending with a slash; empty: where a login begins."""
        ...

    def run(self, script: str, *arguments: str, given: bytes = b"") -> Done:
        """Run a POSIX shell script with arguments, `given` on its standard input.

        Raises DeviceUnreachable, HostKeyRefused, LoginRefused, or TransferBroken when the connection ends
        before the command does.
        """
        ...


def checked(connection: Connection, doing: str, script: str, *arguments: str, given: bytes = b"") -> bytes:
    """Standard output of a command that must succeed. Raises also DeviceFull, CommandFailed."""
    done = connection.run(script, *arguments, given=given)
    if done.code:
        raise failure(connection, doing, done)
    return done.output


def failure(connection: Connection, doing: str, done: Done) -> DeployError:
    """The error of a command that failed."""
    said = done.errors.strip()
    if any(words in said for words in _NO_ROOM):
        return DeviceFull(
            f"no room on the device while {doing}",
            where=connection.name,
            why=said.splitlines()[0],
            fix="make room there; the version that was there is unchanged",
        )
    return CommandFailed(
        f"the device failed while {doing}",
        where=connection.name,
        why=said or f"exit code {done.code} and no message",
        fix="the version that was there is unchanged",
    )
