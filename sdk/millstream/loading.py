"""MODEL on the command line: a reference model's name, `package.module:factory`, or `file.py:factory`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

import millstream_models
from millstream.errors import CheckpointInvalid, FactoryFailed, ModelNotFound
from millstream.user_code import guarded
from millstream_models import CATALOGUE, ReferenceModel


@dataclass(frozen=True)
class Loaded:
    """The module, a name for it, and its catalogue entry when it is a reference model."""

    module: nn.Module
    name: str
    reference: ReferenceModel | None = None


def load(text: str, checkpoint: str = "") -> Loaded:
    """Make the model that `text` names, and load `checkpoint` (.safetensors) into it.

    Without a checkpoint a reference model gets its own trained weights, if it has any. A factory is
    called without arguments and returns an `nn.Module`; a class will do, and so will a module that is
    there already.

    Raises ModelNotFound, FactoryFailed, CheckpointInvalid.
    """
    entry = next((model for model in CATALOGUE if model.name == text.removeprefix("models:")), None)
    found = _found(entry.factory if entry else text)
    module = found if isinstance(found, nn.Module) else _made(found, text)
    if entry and entry.weights and not checkpoint:
        checkpoint = str(Path(millstream_models.__file__).parent / entry.weights)
    if checkpoint:
        load_checkpoint(module, checkpoint)
    return Loaded(module, entry.name if entry else text.rpartition(":")[2], entry)


def load_checkpoint(module: nn.Module, path: str) -> None:
    """Load a safetensors state dict, every name matched. Raises CheckpointInvalid."""
    if not path.endswith(".safetensors"):
        raise CheckpointInvalid(
            "only .safetensors checkpoints are read",
            where=path,
            why="other formats can run code when they are opened",
            fix="safetensors.torch.save_file(model.state_dict(), 'model.safetensors')",
        )
    try:
        weights = safetensors.torch.load_file(path)
        module.load_state_dict(weights, strict=True)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointInvalid(
            "the checkpoint does not fit", where=path, why=str(error), fix="save it from the same module"
        ) from error


def _found(text: str) -> Callable[[], Any]:
    """The factory, or the module, of that name."""
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        known = ", ".join(model.name for model in CATALOGUE)
        raise ModelNotFound(
            f"{text!r} names no model",
            why="it is no reference model and has no `:factory`",
            fix=f"use package.module:factory, file.py:factory, or one of {known}",
        )
    module = _from_file(place) if place.endswith(".py") else _from_package(place)
    found = getattr(module, name, None)
    if not callable(found):
        raise ModelNotFound(f"{place} has no callable {name!r}", where=text, fix="check the factory's name")
    return found


def _from_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise ModelNotFound("no such file", where=path, fix="check the path before the colon")
    name = f"_millstream_user_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelNotFound("the file is no Python module", where=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _run_user_code(lambda: spec.loader.exec_module(module), f"{path} cannot be imported")  # type: ignore[union-attr]
    return module


def _from_package(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    try:
        if _spec(name) is None:
            raise ModelNotFound(
                f"no module {name!r}", fix="check the spelling, or give a path: folder/file.py:factory"
            )
        return _run_user_code(lambda: importlib.import_module(name), f"{name} cannot be imported")
    finally:
        sys.path.remove(os.getcwd())


def _spec(name: str) -> object:
    try:
        return importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return None


def _made(factory: Callable[[], Any], text: str) -> nn.Module:
    module = _run_user_code(factory, f"the factory {text} raised")
    if not isinstance(module, nn.Module):
        raise FactoryFailed(
            f"the factory returned {type(module).__name__}", where=text, fix="return an nn.Module"
        )
    return module


def _run_user_code(run: Callable[[], Any], what: str) -> Any:
    """Run code that is not ours; what it raises is reported with the place where it was raised."""

    def refusal(error: Exception) -> FactoryFailed:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return FactoryFailed(
            what,
            where=f"{last.filename}:{last.lineno}",
            why=f"{type(error).__name__}: {error}",
            fix="make it run by itself first: it is called without arguments",
        )

    return guarded(run, refusal)
