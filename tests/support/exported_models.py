"""Bundles of the trained LMUFormer and of the small models, extracted for the programs of `examples`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from c_machines import EXAMPLES, Sources, call, tool
from small_models import STREAMING, ConvNet, frames, seeded

import millstream
import millstream_runtime
from millstream.datasets import japanese_vowels
from millstream.extracting import extract
from millstream.loading import load
from millstream.sequences import Sequences
from millstream_runtime.bundle import Bundle
from millstream_runtime.spec import TargetSpec

_SMALL = {make.__name__: make for make in (*STREAMING, ConvNet)}
MODELS = ("lmuformer_jv", *_SMALL)


def _golden_check() -> ModuleType:
    """The example script that feeds a program and checks what it gives back."""
    spec = importlib.util.spec_from_file_location("golden_check", EXAMPLES / "c/golden.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOLDEN = _golden_check()


def exported(name: str, targets: Sequence[str], folder: Path) -> Bundle:
    """A bundle of a model for the targets, each extracted into a folder of its own beside it."""
    if name in _SMALL:
        module, make = seeded(_SMALL[name]).eval(), _SMALL[name]
        example = frames(make, 6) if make is ConvNet else frames(make, 2, 21)
    else:
        module, example = load(name, "").module, Sequences(japanese_vowels.train().frames[:4])
    path = folder / "model.mill"
    millstream.export(module, example, targets, about=millstream.About(name=name)).save(path)
    bundle = millstream_runtime.read(path)
    for target in targets:
        extract(bundle, target, str(folder / target))
    return bundle


def target_of(bundle: Bundle, name: str) -> TargetSpec:
    """The target of that name."""
    return next(target for target in bundle.manifest.targets if target.name == name)


def sources_of(bundle: Bundle, target: str) -> Sources:
    """The files of a target as `exported` extracted them."""
    return Sources(Path(bundle.path).parent / target, bundle.manifest.model.name.lower())


def symbols(path: Path, nm: str) -> dict[str, tuple[str, int]]:
    """Kind and size in bytes of every symbol of an object file or a program."""
    fields = (line.split() for line in call(tool(nm), "-P", path).decode().splitlines())
    return {name: (kind, int(rest[1], 16) if len(rest) > 1 else 0) for name, kind, *rest in fields}
