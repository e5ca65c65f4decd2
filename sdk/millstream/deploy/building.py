"""A target that the bundle lacks, compiled from the bundle's own step and added to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from millstream import package, targets
from millstream.deploy.errors import NoTargetFits
from millstream.float16 import loosened
from millstream.gap import refuse
from millstream.graph import StepGraph
from millstream.quantize.tolerance import rounds
from millstream.targets import Contract
from millstream.targets.tools import require
from millstream_runtime import archive, signature
from millstream_runtime.bundle import MANIFEST, Bundle
from millstream_runtime.spec import STEP, TargetSpec


@dataclass(frozen=True)
class Build:
    """A target, its files by name relative to its folder, and the bundle that holds it, as a file's bytes."""

    target: TargetSpec
    files: Mapping[str, bytes]
    bundle: bytes


@dataclass(frozen=True)
class Workshop:
    """The targets of one bundle, each built once for all devices that take it."""

    bundle: Bundle
    _built: dict[str, Build] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def build(self, name: str) -> Build:
        """The target of that name, from the bundle or compiled now; its proof is left to the device.

        Raises ToolMissing, UnsupportedOperators, NoTargetFits for a step whose bounds were measured when it
        was exported.
        """
        with self._turn:
            if name not in self._built:
                held = next((t for t in self.bundle.manifest.targets if t.name == name), None)
                self._built[name] = self._taken(held) if held else self._compiled(name)
            return self._built[name]

    def _taken(self, target: TargetSpec) -> Build:
        return Build(target, self.bundle.files(target), _bytes_of(self.bundle))

    def _compiled(self, name: str) -> Build:
        target, manifest, members = targets.target(name), self.bundle.manifest, self.bundle.members
        require(name, targets.compile_half(target).missing(target))
        graph = StepGraph(onnx.load_from_string(members[STEP]))
        refuse({name: targets.compile_half(target).gaps(graph, target)})
        if rounds(graph, manifest.model):
            raise NoTargetFits(
                f"the bundle has no target {name}, and its step rounds",
                where=self.bundle.path,
                why="what is allowed between two targets was measured on the frames of the export",
                fix=f"export it again with --target {name}",
            )
        initial = self.bundle.initial()
        made = targets.compile_half(target).compile(graph, target, Contract(manifest.model, initial))
        tolerance = loosened(made.tolerance, graph, manifest.model)
        spec = TargetSpec(name, target.backend, (), tolerance, made.memory, made.machine)
        whole, packed = package.assemble(package.with_target(self.bundle, spec, made.files))
        added = next(t for t in whole.targets if t.name == name)
        return Build(added, made.files, b"".join(archive.pack(packed)))


def _bytes_of(bundle: Bundle) -> bytes:
    """The bundle as a file, its manifest and signature untouched."""
    if not os.path.isdir(bundle.path):
        with open(bundle.path, "rb") as file:
            return file.read()
    with open(os.path.join(bundle.path, MANIFEST), "rb") as file:
        manifest = file.read()
    signed = {} if bundle.signature is None else {signature.MEMBER: bundle.signature}
    return b"".join(archive.pack({MANIFEST: manifest, **signed, **bundle.members}))
