"""`board.json`: what the host knows of the board that a bundle was packed for."""

from __future__ import annotations

import json
from dataclasses import dataclass

from millstream_runtime.backends.serial import wire
from millstream_runtime.errors import PlanInvalid

FILE = "board.json"
#: What a board is loaded with whose memory wakes up empty: words of 16 bits, little-endian.
LOAD = "load.bin"


@dataclass(frozen=True)
class Board:
    """The speed of the line in baud, and what the board answers when it is asked who it is."""

    baud: int
    identity: bytes

    def dump(self) -> bytes:
        """The file."""
        return json.dumps({"baud": self.baud, "identity": self.identity.hex()}).encode()


def read_board(data: bytes) -> Board:
    """Check and read `board.json`. Raises PlanInvalid."""
    try:
        document = json.loads(data)
        found = Board(document["baud"], bytes.fromhex(document["identity"]))
    except (ValueError, TypeError, KeyError) as error:
        raise PlanInvalid("the board cannot be read", where=FILE, why=str(error)) from error
    if type(found.baud) is not int or found.baud <= 0 or len(found.identity) != wire.IDENTITY_BYTES:
        raise PlanInvalid("the board makes no sense", where=FILE, why=str(document))
    return found
