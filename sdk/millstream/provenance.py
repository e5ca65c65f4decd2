"""What made a bundle."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def provenance(fixed_batch_reason: str) -> dict[str, Any]:
    """Versions and machine; no time, so that the same model gives the same bytes."""
    found: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("torch", "onnx", "onnxscript", "numpy", "apache-tvm", "numba", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if fixed_batch_reason:
        found["batch is fixed to 1 because"] = fixed_batch_reason
    return found
