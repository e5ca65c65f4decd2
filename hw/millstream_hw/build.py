"""A build: a folder with the circuit's sources, the model that they come from, and what was decided.

It is written whole or not at all. The same model and options give the same bytes, so a build that is there
already is kept, with everything that was simulated and synthesized in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import millstream_runtime
from millstream.errors import FileInTheWay
from millstream.writing import room_beside, write_pieces
from millstream_hw.errors import BuildInvalid
from millstream_hw.estimate import Estimate, Share
from millstream_hw.parts import Part, part_named
from millstream_hw.planning import Plan
from millstream_runtime import strict_json
from millstream_runtime.bundle import MANIFEST, Bundle

RECORD = "build.json"
MODEL = "model"
SIMULATOR = "simulator"
FORMAT = 4
#: Endings of what a compiler is given by name; other sources are read by these.
_COMPILED = (".v", ".cpp")


@dataclass(frozen=True)
class Build:
    """A build in `folder`: its road, part and clock, its `sources` by path, and what was estimated for the
    whole and for each layer. `board` is empty where the part stands alone."""

    folder: str
    model: str
    road: str
    part: str
    board: str
    clock_mhz: float
    lanes: int
    sources: tuple[str, ...]
    estimate: Estimate
    shares: tuple[Share, ...]
    key: str

    @property
    def compiled(self) -> tuple[str, ...]:
        """The sources that a compiler is given by name."""
        return tuple(name for name in self.sources if name.endswith(_COMPILED))

    @property
    def title(self) -> str:
        """What it is, on one line."""
        lanes = f" with {self.lanes} lanes" if self.lanes else ""
        place = f"{self.board} ({self.part})" if self.board else self.part
        return f"{self.model} on {place} at {self.clock_mhz:g} MHz, {self.road}{lanes}"

    @property
    def target(self) -> Part:
        """The part that it is for."""
        return part_named(self.part)

    def bundle(self) -> Bundle:
        """The model that it was made from, verified."""
        return millstream_runtime.read(os.path.join(self.folder, MODEL))

    def path(self, name: str) -> str:
        """A file of the build."""
        return os.path.join(self.folder, name)

    def copy_sources(self, folder: str) -> None:
        """Copy the sources into another folder, where tools may leave what they like."""
        for name in self.sources:
            target = os.path.join(folder, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(self.path(name), target)

    def note(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a result beside the sources, whole or not at all."""
        with room_beside(self.path(name)) as room:
            new = os.path.join(room, "new")
            write_pieces(new, [json.dumps(document, indent=1).encode()])
            os.replace(new, self.path(name))

    def forget(self, name: str) -> None:
        """Remove a result, so that it does not outlive what it was about."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path(name))

    def noted(self, name: str) -> dict[str, Any] | None:
        """A result that was written before, or None."""
        try:
            with open(self.path(name), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None


def write(
    folder: str,
    bundle: Bundle,
    plan: Plan,
    part: Part,
    clock_mhz: float,
    board: str = "",
) -> tuple[Build, bool]:
    """Write a build of a plan that fits; the second result is False when the same one stood there already.

    Raises FileInTheWay when something else stands there.
    """
    if plan.estimate is None:
        raise ValueError("a plan that cannot be built")
    files = plan.files()
    folder = folder.rstrip("/" + os.sep)
    sources = tuple(sorted(files))
    members = {MANIFEST: strict_json.dumps(bundle.manifest.to_json()), **bundle.members}
    everything = {**files, **{os.path.join(MODEL, name): data for name, data in members.items()}}
    key = _key(everything, plan.road, part.name, board, str(clock_mhz), version("millstream"))
    name = bundle.manifest.model.name
    guess = (plan.estimate, plan.shares)
    build = Build(folder, name, plan.road, part.name, board, clock_mhz, plan.lanes, sources, *guess, key)
    if os.path.exists(folder):
        if not os.path.isfile(os.path.join(folder, RECORD)):
            raise FileInTheWay(
                "something that is no build stands there", where=folder, fix="choose another -o"
            )
        if _record_key(folder) == key:
            return build, False
    everything[RECORD] = _record(build)
    with room_beside(folder) as room:
        new = os.path.join(room, "new")
        for path, data in everything.items():
            os.makedirs(os.path.dirname(os.path.join(new, path)), exist_ok=True)
            write_pieces(os.path.join(new, path), [data])
        if os.path.exists(folder):
            os.rename(folder, os.path.join(room, "old"))
        os.rename(new, folder)
    return build, True


def read(folder: str) -> Build:
    """The build in a folder. Raises BuildInvalid."""
    folder = folder.rstrip("/" + os.sep)
    try:
        with open(os.path.join(folder, RECORD), encoding="utf-8") as file:
            found = json.load(file)
        if found.pop("format") != FORMAT:
            raise BuildInvalid("a build of another version", where=folder, fix="build it again")
        found["estimate"] = Estimate(**found["estimate"])
        found["shares"] = tuple(Share(**share) for share in found["shares"])
        found["sources"] = tuple(found["sources"])
        return Build(folder=folder, **found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildInvalid(
            "no build there",
            where=folder,
            why=str(error),
            fix="millstream fpga build MODEL.mill -o " + folder,
        ) from error


def _record(build: Build) -> bytes:
    fields = asdict(build)
    del fields["folder"]
    return json.dumps({"format": FORMAT, **fields}, indent=1).encode()


def _record_key(folder: str) -> str:
    try:
        return read(folder).key
    except BuildInvalid:
        return ""


def _key(files: Mapping[str, bytes], *options: str) -> str:
    hasher = hashlib.sha256("\0".join(options).encode())
    for name, data in sorted(files.items()):
        hasher.update(f"\0{name}\0{len(data)}\0".encode() + data)
    return hasher.hexdigest()
