"""Opening every target of a bundle that opens on this machine, also what is made for others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.whereabouts import runs_here
from millstream_runtime.bundle import Bundle
from millstream_runtime.core import Core
from millstream_runtime.errors import BackendError, BackendMissing, NoBackendOpens
from millstream_runtime.model import Model, open_target, targets_of
from millstream_runtime.spec import TargetSpec


@dataclass(frozen=True)
class Opened:
    """One target of a bundle: its model, or why it does not open here."""

    target: TargetSpec
    model: Model | None
    why: str = ""


def asked(bundle: Bundle, backend: str | None) -> tuple[TargetSpec, ...]:
    """The bundle's targets of a backend, or all. Raises BackendUnknown."""
    if backend is None:
        return bundle.manifest.targets
    named = tuple(target for target in bundle.manifest.targets if target.backend == backend)
    return named or targets_of(bundle, backend)


def open_all(bundle: Bundle, targets: Sequence[TargetSpec]) -> tuple[Opened, ...]:
    """Open these targets of a bundle.

    Raises NoBackendOpens when none of them does, or the BackendError that keeps the only one closed;
    PlanInvalid for a target whose files are malformed.
    """
    if len(targets) == 1:
        return (Opened(targets[0], open_here(bundle, targets[0])),)
    opened = tuple(_try(bundle, target) for target in targets)
    if opened and not any(one.model for one in opened):
        raise NoBackendOpens(
            "no backend opens this bundle here",
            where=bundle.path,
            why="; ".join(f"{one.target.name}: {one.why}" for one in opened),
        )
    return opened


def open_here(bundle: Bundle, target: TargetSpec) -> Model:
    """Open one target on this host, also one that is made for other machines.

    Raises a BackendError, or PlanInvalid.
    """
    if runs_here(target):
        return open_target(bundle, target)
    try:
        from millstream import targets  # only where such a target is met: a device has no toolchain

        step = targets.open_step(bundle.files(target), bundle.manifest.model, target)
    except ModuleNotFoundError as error:
        raise BackendMissing(
            "a target for other machines is opened by the toolchain, which is not installed",
            why=str(error),
            fix="pip install 'millstream[export]'",
        ) from error
    manifest = bundle.manifest
    return Model(manifest, target, Core(manifest.model, step, bundle.initial(), manifest.model_sha256))


def _try(bundle: Bundle, target: TargetSpec) -> Opened:
    try:
        return Opened(target, open_here(bundle, target))
    except BackendError as error:
        return Opened(target, None, "; ".join(filter(None, (error.what, error.why, error.fix))))
