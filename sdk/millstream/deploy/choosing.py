"""Which target a device takes: one that the bundle has, or the best that can be built for it."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.deploy.errors import NoTargetFits
from millstream.deploy.executable import architectures
from millstream.deploy.probe import Device
from millstream.targets.tvm.levels import LEVELS
from millstream_runtime.backends import BACKENDS
from millstream_runtime.spec import Machine, TargetSpec

#: Compiled for Linux with Python, those first that make more of a machine.
_NATIVE = ("x86-64-v4", "x86-64-v3", "x86-64-v2", "aarch64-linux-dotprod", "aarch64-linux")
#: With the C interface, by architecture, best first.
_PLAIN = {
    "aarch64": ("android-arm64", "c"),
    "armv7l": ("armv7-linux", "c"),
    "riscv64": ("riscv64-linux", "c"),
    "x86_64": ("c",),
}


def with_python(device: Device, targets: Sequence[TargetSpec], where: str) -> str:
    """The name of the target for a device with Python: of the bundle's own the fastest that the device has
    all for, else one that has to be built. Raises NoTargetFits with what each lacks."""
    order = [name for name, _ in BACKENDS]
    fitting = [t for t in targets if t.backend in order and not _lacks(t, device)]
    if fitting:
        return min(fitting, key=lambda t: (order.index(t.backend), -len(t.machine.features))).name
    native = next((name for name in _NATIVE if not _unlike(LEVELS[name].machine, device.machine)), "")
    if native:
        return native
    if device.has("numba"):
        return "numba"
    reasons = [f"{t.name}: {_lacks(t, device)}" for t in targets if t.backend in order]
    kind = f"{device.machine.system} on {device.machine.arch}"
    raise NoTargetFits(
        f"no target runs on {kind} with what is installed there",
        where=where,
        why="; ".join(reasons),
        fix="install numba or onnxruntime on the device, or deploy with --no-python",
    )


def without_python(device: Device, targets: Sequence[TargetSpec], where: str) -> str:
    """The name of the target for a static program. Raises NoTargetFits."""
    arch = device.machine.arch
    if device.machine.system != "linux" or arch not in _PLAIN:
        raise NoTargetFits(
            f"no program can be made for {device.machine.system} on {arch}",
            where=where,
            fix=f"static programs are made for Linux on {', '.join(architectures())}",
        )
    names = [name for name in _PLAIN[arch] if name != "armv7-linux" or _has_neon(device)]
    held = {target.name for target in targets}
    return next((name for name in names if name in held), names[0])


def _has_neon(device: Device) -> bool:
    """A 64-bit kernel calls it asimd."""
    return bool({"neon", "asimd"} & set(device.machine.features))


def _lacks(target: TargetSpec, device: Device) -> str:
    """Why the device does not run a target, or an empty text."""
    if not device.has(target.backend):
        return f"{target.backend} is not installed"
    return _unlike(target.machine, device.machine)


def _unlike(needed: Machine, found: Machine) -> str:
    if needed.system not in ("", found.system) or needed.arch not in ("", found.arch):
        return f"for {needed.system} on {needed.arch}"
    lacking = sorted(set(needed.features) - set(found.features))
    return f"the CPU lacks {', '.join(lacking)}" if lacking else ""
