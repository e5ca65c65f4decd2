"""Several devices: `devices.toml`, and the same work on all of them at once.

[device.kitchen]
address = "ssh://pi@kitchen.local:22"

[device.gate]
address = "ssh://root@10.0.0.7"
no_python = true
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from millstream.deploy.address import connect
from millstream.deploy.connection import Connection
from millstream.deploy.deploying import Wanted
from millstream.deploy.errors import AddressUnknown, FleetInvalid
from millstream_runtime.errors import MillstreamError

#: Connections that are open at once.
_AT_ONCE = 16
_DEFAULTS = {field.name: field.default for field in fields(Wanted)}

T = TypeVar("T")


@dataclass(frozen=True)
class Placed:
    """A device under the name that its user gave it, and how it shall be served."""

    name: str
    connection: Connection
    wanted: Wanted


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of one device: a result or an error."""

    placed: Placed
    result: T | None
    error: MillstreamError | None


def read_fleet(path: str, ssh_config: str = "") -> tuple[Placed, ...]:
    """The devices of a file. `ssh_config` is what each takes that names none of its own.

    Raises FleetInvalid with everything that is wrong.
    """
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise FleetInvalid("the devices cannot be read", where=path, why=str(error)) from error
    entries = document.get("device")
    problems = [f"[{name}] is no table of devices" for name in document if name != "device"]
    if not isinstance(entries, dict) or not entries:
        problems.append("there is no [device.NAME]")
        entries = {}
    problems += [problem for name, entry in entries.items() for problem in _problems(name, entry)]
    if problems:
        raise FleetInvalid(
            "the devices cannot be understood",
            where=path,
            why="".join(f"\n  - {problem}" for problem in problems),
            fix="each is a table [device.NAME] with address, and where wanted "
            + ", ".join(sorted(_DEFAULTS)),
        )
    return tuple(_placed(name, entry, ssh_config) for name, entry in entries.items())


def on_all(devices: Sequence[Placed], work: Callable[[Placed], T]) -> list[Outcome[T]]:
    """Do the work on every device, many at once; where it fails, the others go on."""

    def tried(placed: Placed) -> Outcome[T]:
        try:
            return Outcome(placed, work(placed), None)
        except MillstreamError as error:
            return Outcome(placed, None, error)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(tried, devices))


def _problems(name: str, entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"device.{name} is no table"
        return
    for key, value in entry.items():
        kind = str if key in ("address", "ssh_config") else type(_DEFAULTS.get(key))
        if key not in (*_DEFAULTS, "address", "ssh_config"):
            yield f"device.{name}.{key} means nothing"
        elif type(value) is not kind:
            yield f"device.{name}.{key} is {value!r} and must be a {kind.__name__}"
    if "address" not in entry:
        yield f"device.{name} has no address"
    elif isinstance(entry["address"], str):
        try:
            connect(entry["address"])
        except AddressUnknown as error:
            yield f"device.{name}: {error.what}"


def _placed(name: str, entry: Mapping[str, Any], ssh_config: str) -> Placed:
    settings = dict(entry)
    address = settings.pop("address")
    connection = connect(address, settings.pop("ssh_config", ssh_config))
    return Placed(name, connection, Wanted(**settings))
