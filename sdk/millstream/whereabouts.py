"""Which targets run on this machine itself, and why others do not."""

from __future__ import annotations

from millstream_runtime import machine
from millstream_runtime.backends import has_backend
from millstream_runtime.spec import TargetSpec


def runs_here(target: TargetSpec) -> bool:
    """Whether a target is for this kind of machine, with Python; a feature or a library may still lack."""
    return has_backend(target.backend) and machine.is_kind(target.machine)


def why_elsewhere(target: TargetSpec) -> str:
    """What a target that does not run here is for, as the end of a sentence about it."""
    return "is for another machine" if has_backend(target.backend) else "runs without Python"
