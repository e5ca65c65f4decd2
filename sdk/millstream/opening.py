"""Opening every target of a bundle that opens on this machine, also what runs without Python elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from millstream_runtime.backends import has_backend
from millstream_runtime.bundle import Bundle
from millstream_runtime.core import Core
from millstream_runtime.errors import BackendError, NoBackendOpens
from millstream_runtime.model import Model, open_target, target_of
from millstream_runtime.spec import TargetSpec


@dataclass(frozen=True)
class Opened:
    """One target of a bundle: its model, or why it does not open here."""

    target: TargetSpec
    model: Model | None
    why: str = ""


def open_all(bundle: Bundle, backend: str | None = None) -> tuple[Opened, ...]:
    """Open all targets, or the one of `backend`.

    Raises NoBackendOpens when none does; when one was asked for, the BackendError that keeps it closed;
    PlanInvalid for a target whose files are malformed.
    """
    if backend is not None:
        named = (target for target in bundle.manifest.targets if target.backend == backend)
        target = next(named, None) or target_of(bundle, backend)
        return (Opened(target, open_here(bundle, target)),)
    opened = tuple(_try(bundle, target) for target in bundle.manifest.targets)
    if not any(one.model for one in opened):
        raise NoBackendOpens(
            "no backend opens this bundle here",
            where=bundle.path,
            why="; ".join(f"{one.target.name}: {one.why}" for one in opened) or "it holds no target",
        )
    return opened


def open_here(bundle: Bundle, target: TargetSpec) -> Model:
    """Open one target on this host, also one that runs without Python on its devices.

    Raises a BackendError, or PlanInvalid.
    """
    if has_backend(target.backend):
        return open_target(bundle, target)
    from millstream import targets  # only where such a target is met: a device has no toolchain

    manifest = bundle.manifest
    step = targets.open_step(bundle.files(target), manifest.model, target)
    return Model(manifest, target, Core(manifest.model, step, bundle.initial(), manifest.model_sha256))


def _try(bundle: Bundle, target: TargetSpec) -> Opened:
    try:
        return Opened(target, open_here(bundle, target))
    except BackendError as error:
        return Opened(target, None, "; ".join(filter(None, (error.what, error.why, error.fix))))
