"""Reading a bundle: everything is checked here, before any of it is used.

The format, with the reason for each rule, is in `docs/bundle.md`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from millstream_runtime import archive, folder, safetensors, signature, strict_json
from millstream_runtime.archive import DEFAULT_LIMITS, Limits
from millstream_runtime.errors import (
    BundleNotFound,
    BundleTooLarge,
    ManifestInvalid,
    MemberCorrupt,
    MemberMissing,
    MemberUnknown,
    TensorsInvalid,
)
from millstream_runtime.spec import INITIAL, Manifest, ModelSpec, TargetSpec

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 2**24


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: its manifest, and the bytes of the members that the manifest names.

    `signature` is the member `manifest.sig` as it stands, None when there is none. It says nothing unless
    the bundle was read with `trusted_keys`.
    """

    path: str
    manifest: Manifest
    members: Mapping[str, bytes]
    signature: bytes | None = None

    def initial(self) -> tuple[np.ndarray, ...]:
        """The initial value of each state, read-only, shape as in its StateSpec. Raises TensorsInvalid."""
        return _initial(self.manifest.model, self.members)

    def files(self, target: TargetSpec) -> dict[str, bytes]:
        """The target's files by name relative to its folder, as a backend's `open` takes them."""
        return {name.removeprefix(f"targets/{target.name}/"): self.members[name] for name in target.files}


def read(
    path: str | os.PathLike[str],
    limits: Limits = DEFAULT_LIMITS,
    trusted_keys: Collection[str] | None = None,
) -> Bundle:
    """Read and verify the bundle at `path`, a `.mill` file or the same tree as a folder.

    With `trusted_keys` (Ed25519 public keys in hex) only a bundle signed by one of them is taken;
    without, a signature is neither asked for nor looked at. Raises a BundleError, or LibraryMissing
    when a signature must be checked and `cryptography` is not installed.
    """
    path = os.fspath(path)
    members = _members(path, limits)
    if MANIFEST not in members:
        raise MemberMissing("the bundle has no manifest.json", where=path)
    manifest_bytes, signed = members.pop(MANIFEST), members.pop(signature.MEMBER, None)
    if trusted_keys is not None:
        signature.verify(manifest_bytes, signed, trusted_keys)
    manifest = _manifest(manifest_bytes)
    _check_members(manifest, members)
    return Bundle(path, manifest, members, signed)


def _members(path: str, limits: Limits) -> dict[str, bytes]:
    try:
        if os.path.isdir(path):
            return folder.read(path, limits)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return archive.unpack(file, limits)
    except OSError as error:
        raise BundleNotFound("the bundle cannot be read", where=path, why=str(error)) from error
    raise BundleNotFound("no bundle there", where=path, fix="check the path; a bundle is a .mill file")


def _manifest(data: bytes) -> Manifest:
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleTooLarge(f"a manifest of {len(data)} bytes", why=f"the limit is {MAX_MANIFEST_BYTES}")
    try:
        parsed = strict_json.loads(data)
    except ValueError as error:
        raise ManifestInvalid("the manifest is no JSON", where=MANIFEST, why=str(error)) from error
    return Manifest.from_json(parsed)


def _check_members(manifest: Manifest, members: Mapping[str, bytes]) -> None:
    missing = sorted(manifest.members.keys() - members)
    if missing:
        raise MemberMissing("the bundle lacks members", where=", ".join(missing), fix="copy it again")
    unknown = sorted(members.keys() - manifest.members)
    if unknown:
        raise MemberUnknown("the manifest does not name all members", where=", ".join(unknown))
    for name, promised in manifest.members.items():
        data = members[name]
        if len(data) != promised.size or hashlib.sha256(data).hexdigest() != promised.sha256:
            raise MemberCorrupt(
                "a member is not what the manifest promises",
                where=name,
                why="its size or its SHA-256 differs",
                fix="copy the bundle again, or export it again",
            )


def _initial(spec: ModelSpec, members: Mapping[str, bytes]) -> tuple[np.ndarray, ...]:
    stored = safetensors.load(members[INITIAL], INITIAL)[0] if INITIAL in members else {}
    wanted = {s.name: (s.shape, s.dtype) for s in spec.states if s.fill is None}
    if {name: (a.shape, a.dtype.name) for name, a in stored.items()} != wanted:
        raise TensorsInvalid("the initial states are not those that the manifest names", where=INITIAL)
    return tuple(
        stored[s.name] if s.fill is None else np.broadcast_to(np.array(s.fill, s.dtype), s.shape)
        for s in spec.states
    )
