"""What this machine is, in the words that a compiled target uses for the machine it needs."""

from __future__ import annotations

import os
import platform
import sys

from millstream_runtime.errors import MachineMismatch
from millstream_runtime.spec import Machine

_ARCH_NAMES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}


def here() -> Machine:
    """This machine: system as in `sys.platform`, architecture as Linux names it, features of the CPU.

    The features are those that the Linux kernel lists ("avx512f", "asimddp"); elsewhere they are
    unknown and the tuple is empty.
    """
    arch = platform.machine().lower()
    return Machine(sys.platform, _ARCH_NAMES.get(arch, arch), _linux_features())


def is_kind(machine: Machine) -> bool:
    """Whether this is a machine of that system and architecture, whatever its features; empty means any."""
    this = here()
    return machine.system in ("", this.system) and machine.arch in ("", this.arch)


def check(machine: Machine) -> None:
    """Raise MachineMismatch when code compiled for `machine` cannot run here; empty fields mean any."""
    this = here()
    for what, wanted, found in (("system", machine.system, this.system), ("CPU", machine.arch, this.arch)):
        if wanted and wanted != found:
            why = f"it wants {wanted}, and this is {found}"
            raise _mismatch(f"this target was compiled for another {what}", why)
    lacking = [feature for feature in machine.features if feature not in this.features]
    if lacking:
        raise _mismatch("this CPU lacks features that the target was compiled for", ", ".join(lacking))


def _mismatch(what: str, why: str) -> MachineMismatch:
    return MachineMismatch(
        what, why=why, fix="export for this machine, or open the bundle with backend='numba' or 'onnxruntime'"
    )


def cpu_name() -> str:
    """What the CPU calls itself, or an empty text where the system does not say."""
    return _cpuinfo("model name", "Model") or platform.processor()


def _linux_features() -> tuple[str, ...]:
    """The feature words of the first CPU: `flags` on x86, `Features` on ARM, `isa` on RISC-V."""
    return tuple(sorted(_cpuinfo("flags", "Features", "isa").split()))


def _cpuinfo(*keys: str) -> str:
    """The first value that the Linux kernel lists under one of the keys, or an empty text."""
    if not os.path.exists("/proc/cpuinfo"):
        return ""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() in keys:
                return value.strip()
    return ""
