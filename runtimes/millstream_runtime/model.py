"""A model ready to run: the bundle verified, the best backend opened."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from millstream_runtime import bundle as bundles
from millstream_runtime.archive import DEFAULT_LIMITS, Limits
from millstream_runtime.backends import BACKENDS, load_backend
from millstream_runtime.bundle import Bundle
from millstream_runtime.core import Core
from millstream_runtime.errors import BackendError, BackendMissing, BackendUnknown, NoBackendOpens
from millstream_runtime.nonfinite import Policy, refuse
from millstream_runtime.pool import Pool
from millstream_runtime.spec import Manifest, ModelSpec, TargetSpec
from millstream_runtime.stream import Stream


@dataclass(frozen=True)
class Model:
    """Heavy, immutable, safe to share between threads. Streams are light: make one per source."""

    manifest: Manifest
    target: TargetSpec
    core: Core

    @property
    def spec(self) -> ModelSpec:
        return self.manifest.model

    @property
    def backend(self) -> str:
        """The name of the backend that runs the step."""
        return self.target.backend

    def stream(self, nonfinite: Policy = refuse) -> Stream:
        """A new stream. Raises BatchFixed."""
        return Stream(self.core, nonfinite)

    def streams(self, n: int, nonfinite: Policy = refuse) -> Pool:
        """`n` streams that are stepped together. Raises BatchFixed, WrongShape."""
        return Pool(self.core, n, nonfinite)

    def initial_states(self, batch: int) -> dict[str, np.ndarray]:
        """Fresh initial states by name, each (batch, *shape)."""
        return {
            state.name: np.tile(value, (batch, *(1 for _ in state.shape)))
            for state, value in zip(self.spec.states, self.core.initial, strict=True)
        }


def load(
    path: str | os.PathLike[str],
    backend: str | None = None,
    trusted_keys: Collection[str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Model:
    """Verify the bundle at `path` and open it with `backend`, or with the fastest that opens here.

    Raises what `bundle.read` raises; BackendUnknown, BackendMissing, MachineMismatch, BackendRefused
    when one backend is asked for; NoBackendOpens with every reason when none is.
    """
    bundle = bundles.read(path, limits, trusted_keys)
    if backend is not None:
        targets = targets_of(bundle, backend)
        return open_target(bundle, targets[0]) if len(targets) == 1 else _first(bundle, targets)
    return best_of(bundle)


def best_of(bundle: Bundle) -> Model:
    """The fastest target of a verified bundle that opens here. Raises NoBackendOpens with every reason."""
    held = {target.backend for target in bundle.manifest.targets}
    return _first(bundle, [t for name, _ in BACKENDS if name in held for t in targets_of(bundle, name)])


def open_target(bundle: Bundle, target: TargetSpec) -> Model:
    """Open one target of a verified bundle. Raises a BackendError, or PlanInvalid."""
    backend = load_backend(target.backend)
    install = backend.missing()
    if install:
        raise BackendMissing(f"{target.backend} is not installed", fix=install)
    manifest = bundle.manifest
    step = backend.open(bundle.files(target), manifest.model, target)
    return Model(manifest, target, Core(manifest.model, step, bundle.initial(), manifest.model_sha256))


def targets_of(bundle: Bundle, backend: str) -> tuple[TargetSpec, ...]:
    """The bundle's targets for this backend, those first that ask more of a machine: they make more of it.

    Raises BackendUnknown.
    """
    load_backend(backend)
    targets = bundle.manifest.targets
    found = sorted((t for t in targets if t.backend == backend), key=lambda t: -len(t.machine.features))
    if not found:
        raise BackendUnknown(
            f"the bundle has no target for {backend}",
            where=bundle.path,
            why="it has " + (", ".join(t.backend for t in targets) or "none"),
            fix="export it again with that target",
        )
    return tuple(found)


def _first(bundle: Bundle, targets: Sequence[TargetSpec]) -> Model:
    """The first of the targets that opens. Raises NoBackendOpens with every reason."""
    reasons = []
    for target in targets:
        try:
            return open_target(bundle, target)
        except BackendError as error:
            reasons.append(f"{target.name}: {error}".replace("\n", "\n  "))
    raise NoBackendOpens(
        "no backend opens this bundle here",
        where=bundle.path,
        why="\n  ".join(("", *reasons)) if reasons else "it holds no target for a backend that is known here",
    )
