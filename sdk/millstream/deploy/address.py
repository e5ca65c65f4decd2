"""`ssh://[user@]host[:port]` or `adb:SERIAL`: the address of a device."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from millstream.deploy.adb import Adb
from millstream.deploy.connection import Connection
from millstream.deploy.errors import AddressUnknown
from millstream.deploy.ssh import Ssh


def connect(address: str, ssh_config: str = "") -> Connection:
    """The way to the device at `address`; nothing is sent yet. Raises AddressUnknown."""
    serial = address.removeprefix("adb:")
    if serial != address and serial:
        return Adb(serial)
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise _unknown(address, str(error)) from error
    host = parts.hostname or ""
    user = parts.username or ""
    # ssh would take what begins with a dash for an option.
    if parts.scheme != "ssh" or not host or "-" in (host[:1], user[:1]) or _more_than_a_host(parts):
        raise _unknown(address, "")
    return Ssh(host, user, port, ssh_config)


def _more_than_a_host(parts: SplitResult) -> bool:
    """Passwords have no place on a command line, and a folder has an option of its own."""
    return bool(parts.password or parts.path.strip("/") or parts.query or parts.fragment)


def _unknown(address: str, why: str) -> AddressUnknown:
    return AddressUnknown(
        f"{address!r} is no address of a device", why=why, fix="give ssh://user@host:22 or adb:SERIAL"
    )
