"""The zip layer of a bundle: one canonical way to store members, and a reader that takes no other.

A zip says most things twice (local header and central directory) and much that is not needed here; each
freedom is a way to show different bytes to different readers. So `pack` fixes everything but names,
sizes, checksums and offsets, and `unpack` refuses whatever `pack` would not have written. Layout and
field names follow PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from millstream_runtime.errors import BundleTooLarge, MemberCorrupt, MemberUnsafe, NotABundle

ALIGNMENT = 64

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_PADDING = struct.Struct("<3H")

_VERSION = 20
_MADE_BY = 3 << 8 | _VERSION  # Unix: the upper half of the external attributes is the file's mode
_MODE = 0o100644 << 16  # a regular file
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01 00:00:00, the first moment that a zip can name
_MAX_OFFSET = 2**32 - 2  # beyond it stands zip64, which is never written
_PADDING_ID = 0xD935  # the extra field that Android's zipalign uses for the same purpose

_COMPONENT = re.compile(r"[A-Za-z0-9_+@=,-][A-Za-z0-9._+@=,-]*\Z")


@dataclass(frozen=True)
class Limits:
    """The most that a reader is willing to hold in memory, in bytes, and the most members."""

    member_bytes: int = 2**30
    total_bytes: int = 2**31
    members: int = 1000


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class _Entry:
    """What the central directory says of one member; `offset` is that of its local header."""

    name: str
    checksum: int
    size: int
    offset: int


def check_name(name: str) -> None:
    """Raise MemberUnsafe unless the name is a plain relative path: letters, digits, `._+@=,-`, `/`.

    No `..`, no leading dot, slash or drive, no backslash: the name means the same in every folder.
    """
    if len(name) > 200 or not all(_COMPONENT.match(part) for part in name.split("/")):
        raise MemberUnsafe(
            "a member's name is no plain relative path",
            where=repr(name)[:200],
            fix="do not open this bundle: Millstream never writes such a name",
        )


def check_size(name: str, size: int, limits: Limits) -> None:
    """Raise BundleTooLarge when one member is larger than the limits allow."""
    if size > limits.member_bytes:
        raise too_large(f"{size} bytes, and the limit is {limits.member_bytes}", name)


def too_large(why: str, where: str) -> BundleTooLarge:
    return BundleTooLarge(
        "larger than the reader's limits", where=where, why=why, fix="raise `limits` if you trust the file"
    )


def pack(members: Mapping[str, bytes]) -> Iterator[bytes]:
    """The archive, piece by piece, members in the mapping's order and aligned to 64 bytes.

    Raises MemberUnsafe for a name that `unpack` would refuse, BundleTooLarge past 4 GiB.
    """
    entries, offset = [], 0
    for name, data in members.items():
        check_name(name)
        entry = _Entry(name, zlib.crc32(data), len(data), offset)
        header = _local_header(entry)
        entries.append(entry)
        offset += len(header) + len(data)
        if offset > _MAX_OFFSET:
            raise too_large(f"a bundle ends at {_MAX_OFFSET} bytes", name)
        yield header
        yield data
    directory = b"".join(_central_header(entry) for entry in entries)
    yield directory
    yield _end_record(len(entries), len(directory), offset)


def unpack(file: BinaryIO, limits: Limits) -> dict[str, bytes]:
    """All members. Sizes are checked before anything is read.

    Raises NotABundle, BundleTooLarge, MemberUnsafe, MemberCorrupt.
    """
    entries, end = _directory(file, limits)
    position = 0
    for entry in entries:
        if entry.offset != position:
            raise MemberUnsafe("members overlap or leave a gap", where=entry.name)
        position += len(_local_header(entry)) + entry.size
    if position != end:
        raise MemberUnsafe("bytes between the last member and the directory belong to nobody")
    return {entry.name: _member(file, entry) for entry in entries}


def _local_header(entry: _Entry) -> bytes:
    name = entry.name.encode("ascii")
    unpadded = entry.offset + _LOCAL.size + len(name) + _PADDING.size
    zeros = -unpadded % ALIGNMENT
    padding = _PADDING.pack(_PADDING_ID, zeros + 2, ALIGNMENT) + bytes(zeros)
    fixed = _LOCAL.pack(
        b"PK\3\4",
        *(_VERSION, 0, 0, _TIME, _DATE),
        *(entry.checksum, entry.size, entry.size, len(name), len(padding)),
    )
    return fixed + name + padding


def _central_header(entry: _Entry) -> bytes:
    name = entry.name.encode("ascii")
    fixed = _CENTRAL.pack(
        b"PK\1\2",
        *(_MADE_BY, _VERSION, 0, 0, _TIME, _DATE),
        *(entry.checksum, entry.size, entry.size, len(name)),
        *(0, 0, 0, 0, _MODE, entry.offset),
    )
    return fixed + name


def _end_record(count: int, size: int, offset: int) -> bytes:
    return _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)


def _directory(file: BinaryIO, limits: Limits) -> tuple[list[_Entry], int]:
    """The entries in order, and where the central directory begins."""
    length = file.seek(0, 2)
    if length < _END.size or _read(file, 0, 4) != b"PK\3\4":
        raise NotABundle("the file is no bundle", why="it does not begin with a stored member")
    if length > limits.total_bytes:
        raise too_large(f"{length} bytes, and the limit is {limits.total_bytes}", "whole file")
    record = _read(file, length - _END.size, _END.size)
    _, _, _, _, count, size, start, _ = _END.unpack(record)
    if record != _end_record(count, size, start) or start + size + _END.size != length:
        raise NotABundle(
            "the file is cut short or has bytes after its end",
            why="its last bytes are no end record that fits",
            fix="copy the bundle again",
        )
    if count > limits.members:
        raise too_large(f"{count} members, and the limit is {limits.members}", "whole file")
    return _entries(_read(file, start, size), count, limits), start


def _entries(directory: bytes, count: int, limits: Limits) -> list[_Entry]:
    entries, position = [], 0
    for _ in range(count):
        entry = _entry(directory, position)
        check_size(entry.name, entry.size, limits)
        entries.append(entry)
        position += _CENTRAL.size + len(entry.name)
    if position != len(directory):
        raise NotABundle("the directory holds more than its members")
    names = [entry.name for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MemberUnsafe("a member stands twice in the bundle", where=", ".join(twice))
    return entries


def _entry(directory: bytes, position: int) -> _Entry:
    record = directory[position : position + _CENTRAL.size]
    if len(record) != _CENTRAL.size or record[:4] != b"PK\1\2":
        raise NotABundle("the directory is damaged")
    fields = _CENTRAL.unpack(record)
    flags, method, checksum, size, name_length, mode, offset = (fields[i] for i in (3, 4, 7, 9, 10, 15, 16))
    name = directory[position + _CENTRAL.size :][:name_length].decode("ascii", "replace")
    entry = _Entry(name, checksum, size, offset)
    for wrong, what in (
        (flags & 1, "encrypted"),
        (flags, "stored with flags"),
        (method, "compressed"),
        (mode >> 28 == 0o12, "a symbolic link"),
        (mode != _MODE, "no regular file"),
    ):
        if wrong:
            raise MemberUnsafe(f"a member is {what}", where=repr(name), why="bundles are stored plainly")
    check_name(name)
    if directory[position : position + _CENTRAL.size + name_length] != _central_header(entry):
        raise MemberUnsafe("a member's entry is not as Millstream writes it", where=name)
    return entry


def _member(file: BinaryIO, entry: _Entry) -> bytes:
    header = _local_header(entry)
    if _read(file, entry.offset, len(header)) != header:
        raise MemberUnsafe("a member's header disagrees with the directory", where=entry.name)
    data = _read(file, entry.offset + len(header), entry.size)
    if zlib.crc32(data) != entry.checksum:  # what guards manifest.json, whose hash stands nowhere
        raise MemberCorrupt("a member is damaged", where=entry.name, why="its CRC-32 differs")
    return data


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise MemberCorrupt("the file became shorter while it was read")
    return data
