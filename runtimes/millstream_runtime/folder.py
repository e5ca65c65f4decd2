"""The folder form of a bundle: the same members as plain files in a tree."""

from __future__ import annotations

import os
from collections.abc import Iterator

from millstream_runtime.archive import Limits, check_name, check_size, too_large
from millstream_runtime.errors import MemberCorrupt, MemberUnsafe


def read(path: str, limits: Limits) -> dict[str, bytes]:
    """All members. Names, kinds and sizes are checked before anything is read.

    Raises MemberUnsafe, BundleTooLarge, MemberCorrupt, OSError.
    """
    sizes: dict[str, int] = {}
    for name, size in _files(path, ""):
        check_size(name, size, limits)
        sizes[name] = size
        if len(sizes) > limits.members or sum(sizes.values()) > limits.total_bytes:
            raise too_large("too many members, or too many bytes together", path)
    return {name: _read_file(os.path.join(path, name), size) for name, size in sorted(sizes.items())}


def _files(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Name and size of every file; links and special files are refused, wherever they point."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            check_name(name)
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                yield name, entry.stat(follow_symlinks=False).st_size
            else:
                raise MemberUnsafe("a member is a link or no regular file", where=name)


def _read_file(path: str, size: int) -> bytes:
    # O_NOFOLLOW: the file may have become a link since it was looked at.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(size + 1)
    if len(data) != size:
        raise MemberCorrupt("the file changed while it was read", where=path)
    return data
