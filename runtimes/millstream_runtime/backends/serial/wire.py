"""What passes over the serial line between the host and a board, for both of them: the board's Verilog is
written with these numbers.

Bytes are 8N1. Every message is a command byte, a number, its payload, and two bytes of CRC-16 over all of
that, the high byte first, so that the CRC over a whole message is 0. An answer has the command and the number
of what it answers.

| from | command | payload |
|---|---|---|
| host | `FRAME` | the words of all inputs and states, int16, little-endian |
| board | `FRAME` | the words of all outputs and next states |
| host | `IDENTIFY` | none |
| board | `IDENTIFY` | the 32 bytes of the identity; how many blocks of constants it has, int16 |
| host | `LOAD` | the number of a block, int16, and its words; zeros fill up the last one |
| board | `LOAD` | how many blocks of constants it has now, int16 |
| board | `REFUSED` alone | no number and no CRC either: the message was damaged, or a frame came too early |

Both sides know how long each message is. The host asks, the board answers, one at a time. A board keeps
nothing from one frame to the next, so the host may send a frame again whenever it doubts the answer. Between
messages a board passes over every byte that is no command; as many zeros as the longest message has bytes
(`flush`) therefore end whatever message it believes to be in. Then the host asks for the identity, and passes
over what comes until the answer with the number of its question.

A board whose memory wakes up empty has its constants from the host. It takes their blocks in order, each
once, so that a block too may be sent again. Anything that it refuses meanwhile begins the load again, and
until it has all blocks it refuses every frame. A board that has its constants from the start counts no blocks
and knows no `LOAD`.
"""

from __future__ import annotations

import binascii
import hashlib

VERSION = 2
FRAME, IDENTIFY, LOAD, REFUSED = 0x46, 0x49, 0x4C, 0x15
IDENTITY_BYTES = 32
#: A count of blocks, or the number of one.
COUNT_BYTES = 2
#: What a board says about itself.
ABOUT_BYTES = IDENTITY_BYTES + COUNT_BYTES
#: Of one block: few answers to wait for, and few enough bits that the CRC finds any three that are wrong.
BLOCK_WORDS = 1024
#: CRC-16 of CCITT, the highest bit first, as `binascii.crc_hqx` computes it.
CRC_START, CRC_POLYNOMIAL = 0xFFFF, 0x1021
_HEAD_BYTES, _CRC_BYTES = 2, 2


def identity(model_sha256: str, ports: bytes, load: bytes) -> bytes:
    """What a board calls itself: a hash of this protocol's version, of the model, of the constants that it is
    loaded with, and of `ports.json`."""
    loaded = hashlib.sha256(load).hexdigest()
    return hashlib.sha256(
        f"millstream serial {VERSION}\n{model_sha256}\n{loaded}\n".encode() + ports
    ).digest()


def blocks(load: bytes) -> list[bytes]:
    """The payloads that load a board with its constants, in order."""
    size = 2 * BLOCK_WORDS
    pieces = (load[start : start + size] for start in range(0, len(load), size))
    return [count(number) + piece.ljust(size, b"\0") for number, piece in enumerate(pieces)]


def count(blocks: int) -> bytes:
    """A count of blocks, or the number of one, in a payload."""
    return blocks.to_bytes(COUNT_BYTES, "little")


def counted(payload: bytes) -> int:
    """The blocks that a board says it has, at the end of a payload."""
    return int.from_bytes(payload[-COUNT_BYTES:], "little")


def message(command: int, number: int, payload: bytes) -> bytes:
    """A whole message; the number is below 256."""
    body = bytes([command, number]) + payload
    return body + binascii.crc_hqx(body, CRC_START).to_bytes(_CRC_BYTES, "big")


def length(payload: int) -> int:
    """Bytes of a message whose payload has so many."""
    return _HEAD_BYTES + payload + _CRC_BYTES


def payload(message: bytes, command: int, number: int) -> bytes | None:
    """The payload of a message that came whole; None when it is another one, or damaged."""
    whole = message[:_HEAD_BYTES] == bytes([command, number]) and binascii.crc_hqx(message, CRC_START) == 0
    return message[_HEAD_BYTES:-_CRC_BYTES] if whole else None


def flush(longest_payload: int) -> bytes:
    """What ends any message that a board believes to be in."""
    return bytes(length(longest_payload))
