"""A stream's state as bytes, to be continued elsewhere: on another backend, in a pool, next week.

8 bytes   "MSSNAP", two digits of version
32 bytes  SHA-256 of what follows
the rest  safetensors: one tensor `state.<name>` per state without batch dimension, and `remainder`
          when samples are waiting for their frame; counters and the model's hash in the metadata
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from millstream_runtime import safetensors
from millstream_runtime.errors import SnapshotInvalid, SnapshotMismatch, TensorsInvalid
from millstream_runtime.spec import ModelSpec

_FAMILY = b"MSSNAP"
_VERSION = b"01"
_START = len(_FAMILY) + len(_VERSION)
_PAYLOAD = _START + hashlib.sha256().digest_size


@dataclass(frozen=True)
class Snapshot:
    """States in manifest order, no batch dimension; `frames` taken so far; `drained` ticks past the
    end, and whether the end was declared; `remainder` (n, *shape of a sample), None without framing."""

    states: tuple[np.ndarray, ...]
    frames: int
    drained: int
    ended: bool
    remainder: np.ndarray | None = None


def dump(snapshot: Snapshot, spec: ModelSpec, identity: str) -> bytes:
    """The snapshot's bytes, bound to the model whose hash is `identity`."""
    arrays = {f"state.{s.name}": a for s, a in zip(spec.states, snapshot.states, strict=True)}
    if snapshot.remainder is not None and len(snapshot.remainder):
        arrays["remainder"] = snapshot.remainder
    counters = {
        "model": identity,
        "frames": str(snapshot.frames),
        "drained": str(snapshot.drained),
        "ended": str(int(snapshot.ended)),
    }
    payload = safetensors.dump(arrays, counters)
    return _FAMILY + _VERSION + hashlib.sha256(payload).digest() + payload


def load(blob: bytes, spec: ModelSpec, identity: str) -> Snapshot:
    """Check and read a snapshot; arrays are read-only. Raises SnapshotInvalid, SnapshotMismatch."""
    payload = _payload(blob)
    try:
        arrays, metadata = safetensors.load(payload, "snapshot")
    except TensorsInvalid as error:
        raise SnapshotInvalid("the snapshot is damaged", why=str(error)) from error
    if metadata.get("model") != identity:
        raise SnapshotMismatch(
            "the snapshot belongs to another model",
            why=f"it was saved by {metadata.get('model', '?')[:12]}, this is {identity[:12]} ({spec.name})",
            fix="load it into a stream of the model that saved it",
        )
    remainder = arrays.pop("remainder", None)
    return Snapshot(
        states=_states(arrays, spec),
        frames=_counter(metadata, "frames"),
        drained=_counter(metadata, "drained", spec.look_ahead),
        ended=_counter(metadata, "ended", 1) == 1,
        remainder=_remainder(remainder, spec),
    )


def unfinished_frame() -> SnapshotMismatch:
    """The error for a snapshot with a remainder where only whole frames are taken."""
    return SnapshotMismatch(
        "the snapshot holds samples of an unfinished frame, and here whole frames are taken",
        fix="load it into a Stream, or save it when `remainder` is 0",
    )


def _payload(blob: bytes) -> bytes:
    """What the checksum covers, once it is found to be right."""
    if blob[: len(_FAMILY)] != _FAMILY:
        raise SnapshotInvalid("these bytes are no snapshot")
    if blob[len(_FAMILY) : _START] != _VERSION:
        raise SnapshotInvalid(
            "the snapshot has another version",
            why=f"this runtime reads {_VERSION.decode()}",
            fix="install the millstream that saved it, or a newer one",
        )
    payload = bytes(blob[_PAYLOAD:])
    if hashlib.sha256(payload).digest() != blob[_START:_PAYLOAD]:
        raise SnapshotInvalid("the snapshot is damaged or cut short", why="its SHA-256 differs")
    return payload


def _counter(metadata: dict[str, str], name: str, largest: int = 2**63 - 1) -> int:
    text = metadata.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= largest):
        raise SnapshotInvalid(f"the counter {name!r} is wrong", why=repr(text[:30]))
    return int(text)


def _states(arrays: dict[str, np.ndarray], spec: ModelSpec) -> tuple[np.ndarray, ...]:
    wanted = {f"state.{s.name}": (s.shape, s.dtype) for s in spec.states}
    if {name: (a.shape, a.dtype.name) for name, a in arrays.items()} != wanted:
        raise SnapshotInvalid("the snapshot's states are not those of the model")
    return tuple(arrays[f"state.{s.name}"] for s in spec.states)


def _remainder(remainder: np.ndarray | None, spec: ModelSpec) -> np.ndarray | None:
    """The remainder as the model's framing wants it: None without framing, maybe empty with."""
    if spec.framing is None:
        if remainder is not None:
            raise unfinished_frame()
        return None
    frame = spec.inputs[0]
    if remainder is None:
        return np.zeros((0, *frame.shape[1:]), frame.dtype)
    fits = remainder.dtype == frame.dtype and remainder.shape[1:] == frame.shape[1:]
    if not fits or len(remainder) >= spec.framing.length:
        raise SnapshotInvalid("the snapshot's remainder does not fit the model's framing")
    return remainder
