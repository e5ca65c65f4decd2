"""What passes over the serial line between the host and a board, for both of them: the board's Verilog is
written with these numbers.

Bytes are 8N1. Every message is a command byte, its payload, and two bytes of CRC-16 over both, the high byte
first, so that the CRC over a whole message is 0.

| from | command | payload |
|---|---|---|
| host | `FRAME` | the words of all inputs and states, int16, little-endian |
| board | `FRAME` | the words of all outputs and next states |
| host | `IDENTIFY` | one byte that the host chose |
| board | `IDENTIFY` | that byte, then the 32 bytes of the identity |
| board | `REFUSED` alone | none and no CRC: the message before it was damaged |

Both sides know how long each message is. The host asks, the board answers, one at a time. A board keeps
nothing
from one frame to the next, so the host may send a frame again whenever it doubts the answer. Between
messages a board passes over every byte that is no command; as many zeros as the longest message has bytes
(`flush`) therefore end whatever message it believes to be in. Then the host asks for the identity, with a
byte that it did not use before, and passes over what comes until the answer with that byte.
"""

from __future__ import annotations

import binascii
import hashlib

VERSION = 1
FRAME, IDENTIFY, REFUSED = 0x46, 0x49, 0x15
IDENTITY_BYTES = 32
#: CRC-16 of CCITT, the highest bit first, as `binascii.crc_hqx` computes it.
CRC_START, CRC_POLYNOMIAL = 0xFFFF, 0x1021
_COMMAND_BYTES, _CRC_BYTES = 1, 2


def identity(model_sha256: str, ports: bytes) -> bytes:
    """What a board calls itself: a hash of this protocol's version, of the model, and of `ports.json`."""
    return hashlib.sha256(f"millstream serial {VERSION}\n{model_sha256}\n".encode() + ports).digest()


def message(command: int, payload: bytes) -> bytes:
    """A whole message."""
    body = bytes([command]) + payload
    return body + binascii.crc_hqx(body, CRC_START).to_bytes(_CRC_BYTES, "big")


def length(payload: int) -> int:
    """Bytes of a message whose payload has so many."""
    return _COMMAND_BYTES + payload + _CRC_BYTES


def payload(message: bytes, command: int) -> bytes | None:
    """The payload of a message that came whole; None when it is another one, or damaged."""
    whole = message[:1] == bytes([command]) and binascii.crc_hqx(message, CRC_START) == 0
    return message[_COMMAND_BYTES:-_CRC_BYTES] if whole else None


def flush(longest_payload: int) -> bytes:
    """What ends any message that a board believes to be in."""
    return bytes(length(longest_payload))
