"""Files that are whole before anybody sees them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable

from millstream.errors import WriteFailed


def room_beside(path: str) -> tempfile.TemporaryDirectory[str]:
    """A folder on the destination's file system that goes away with all that is left in it."""
    return tempfile.TemporaryDirectory(dir=os.path.dirname(path) or ".", prefix=".millstream-")


def write_pieces(path: str, pieces: Iterable[bytes]) -> None:
    """Write a new file and wait until it is on the disk."""
    with open(path, "xb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def replace(path: str, data: bytes) -> None:
    """Write a file that takes its place in one move, whatever stood there. Raises WriteFailed."""
    try:
        with room_beside(path) as room:
            new = os.path.join(room, "new")
            write_pieces(new, (data,))
            os.replace(new, path)
    except OSError as error:
        raise write_failed("the file", path, error) from error


def write_failed(what: str, path: str, error: OSError) -> WriteFailed:
    """The error for something that could not be put in its place."""
    return WriteFailed(
        f"{what} cannot be written",
        where=path,
        why=str(error),
        fix="make room, or choose another place; what was there before is unchanged",
    )
