"""Writing a bundle: the same contents give the same bytes, and a failure leaves the old file in place.

The format, with the reason for each rule, is in `docs/bundle.md`; `millstream_runtime.bundle` reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from millstream.signing import SigningKey
from millstream.writing import room_beside, write_failed, write_pieces
from millstream_runtime import archive, golden, safetensors, signature, strict_json
from millstream_runtime.bundle import MANIFEST, Bundle
from millstream_runtime.golden import Golden
from millstream_runtime.spec import GOLDEN, INITIAL, REPORT, STEP, Manifest, Member, ModelSpec, TargetSpec


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle.

    `step` is the ONNX model. `initial` holds the initial value of each state whose `fill` is None.
    `targets` pairs each target with its own files, keyed by name relative to `targets/<name>/`; a target
    that reads `step.onnx` says so in its `files`. `report`, `provenance` and `options` are JSON values.
    """

    model: ModelSpec
    step: bytes
    golden: Golden
    targets: tuple[tuple[TargetSpec, Mapping[str, bytes]], ...]
    initial: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    report: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def write(
    path: str | os.PathLike[str], contents: Contents, signing_key: SigningKey | None = None
) -> Manifest:
    """Write the bundle to the file `path`, or as a folder when `path` ends with a slash.

    Raises ManifestInvalid or TensorsInvalid when the contents contradict each other, WriteFailed when the
    disk is full or the place cannot be written.
    """
    manifest, members = assemble(contents)
    if signing_key is not None:
        members[signature.MEMBER] = signing_key.sign(members[MANIFEST])
    path = os.fspath(path)
    try:
        if path.endswith(("/", os.sep)):
            _write_folder(path.rstrip("/" + os.sep), members)
        else:
            _write_file(path, members)
    except OSError as error:
        raise write_failed("the bundle", path, error) from error
    return manifest


def with_target(bundle: Bundle, target: TargetSpec, files: Mapping[str, bytes]) -> Contents:
    """The contents of a verified bundle with a target more, or another one of that name. Raises
    TensorsInvalid."""
    manifest, members = bundle.manifest, bundle.members
    held = (t for t in manifest.targets if t.name != target.name)
    return Contents(
        model=manifest.model,
        step=members[STEP],
        golden=golden.load(members[GOLDEN], manifest.model),
        targets=(*((t, _own(bundle, t)) for t in held), (target, files)),
        initial=safetensors.load(members[INITIAL], INITIAL)[0] if INITIAL in members else {},
        report=strict_json.loads(members[REPORT]),
        provenance=manifest.provenance,
        options=manifest.options,
    )


def _own(bundle: Bundle, target: TargetSpec) -> dict[str, bytes]:
    """The files that stand in the target's own folder."""
    prefix = f"targets/{target.name}/"
    return {f.removeprefix(prefix): bundle.members[f] for f in target.files if f.startswith(prefix)}


def assemble(contents: Contents) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest, and every member's bytes in the order in which they are stored, manifest first."""
    members = _members(contents)
    manifest = Manifest(
        producer=f"millstream {version('millstream')}",
        model=contents.model,
        model_sha256=_sha256(contents.step),
        targets=tuple(_target(target, files) for target, files in contents.targets),
        members={name: Member(len(data), _sha256(data)) for name, data in members.items()},
        provenance=contents.provenance,
        options=contents.options,
    )
    # Read it back: what the reader would refuse is never written.
    manifest_bytes = strict_json.dumps(manifest.to_json())
    manifest = Manifest.from_json(strict_json.loads(manifest_bytes))
    return manifest, {MANIFEST: manifest_bytes, **members}


def _members(contents: Contents) -> dict[str, bytes]:
    members = {
        STEP: contents.step,
        GOLDEN: golden.dump(contents.golden, contents.model),
        REPORT: strict_json.dumps(contents.report),
    }
    if contents.initial:
        members[INITIAL] = safetensors.dump(contents.initial)
    for target, files in contents.targets:
        members |= {f"targets/{target.name}/{name}": data for name, data in files.items()}
    return dict(sorted(members.items()))


def _target(target: TargetSpec, files: Mapping[str, bytes]) -> TargetSpec:
    """The target with its own files added to those that it names."""
    own = {f"targets/{target.name}/{name}" for name in files}
    return dataclasses.replace(target, files=tuple(sorted({*target.files, *own})))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_file(path: str, members: Mapping[str, bytes]) -> None:
    """Write beside the destination, then take its place in one move."""
    with room_beside(path) as room:
        new = os.path.join(room, "new")
        write_pieces(new, archive.pack(members))
        os.replace(new, path)


def _write_folder(path: str, members: Mapping[str, bytes]) -> None:
    """Write beside the destination, then change places with the bundle that stands there."""
    with room_beside(path) as room:
        new, old = os.path.join(room, "new"), os.path.join(room, "old")
        for name, data in members.items():
            file = os.path.join(new, name)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            write_pieces(file, (data,))
        if not os.path.exists(path):
            os.rename(new, path)
            return
        if not os.path.isfile(os.path.join(path, MANIFEST)):
            raise FileExistsError(f"{path} exists and is no bundle")
        os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            os.rename(old, path)
            raise
