"""Files that are whole before anybody sees them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable


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
