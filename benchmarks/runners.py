"""Who is timed: Millstream and its peers, in two groups that each have a baseline."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import agreement
import numpy as np


@dataclass(frozen=True)
class Runner:
    """How one runner makes its files and opens them, both as `module:function`.

    A peer runs in the Python that has the peers installed, Millstream in this one. `packages` are those whose
    versions belong beside its figures.
    """

    name: str
    convert: str
    open: str
    packages: tuple[str, ...]
    peer: bool = True

    def python(self, peers: str) -> str:
        """The Python to run it in, when `peers` is that of the peers."""
        return peers if self.peer else sys.executable


@dataclass(frozen=True)
class Group:
    """Runners of one number format. `check` returns how far outputs are from those of torch, or refuses them.

    Ratios are to `baseline`. The bound computes nothing and is not checked.
    """

    name: str
    baseline: str
    bound: Runner
    check: Callable[[np.ndarray, np.ndarray], float]
    runners: tuple[Runner, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """The names in a table of the group, in its order."""
        return (self.bound.name, *(runner.name for runner in self.runners))


def _ours(backend: str, format: str, package: str) -> Runner:
    name = f"Millstream {backend}" + ("" if format == "float32" else f" {format}")
    return Runner(name, f"ours:{format}", f"ours:{backend}", ("millstream", package), peer=False)


def _bound(format: str) -> Runner:
    return Runner(f"bound, {format}", f"bound:{format}", "bound:open_step", ("numpy",), peer=False)


_ONNXRUNTIME = ("onnxruntime", "torch")
_LITERT = ("ai-edge-litert", "litert-torch", "ai-edge-quantizer", "torch")
_IREE = ("iree-base-runtime", "iree-base-compiler", "torch")

FLOAT32 = Group(
    "float32",
    "Millstream tvm",
    _bound("float32"),
    agreement.float32,
    (
        _ours("tvm", "float32", "apache-tvm"),
        _ours("numba", "float32", "numba"),
        _ours("onnxruntime", "float32", "onnxruntime"),
        Runner("LiteRT", "peers.litert:float32", "peers.litert:open_step", _LITERT),
        Runner("OpenVINO", "peers.openvino:float32", "peers.openvino:open_step", ("openvino", "torch")),
        Runner("IREE", "peers.iree:float32", "peers.iree:open_step", _IREE),
        Runner("onnxruntime", "peers.onnx_runtime:float32", "peers.onnx_runtime:open_step", _ONNXRUNTIME),
        Runner("torch eager", "peers.torch_eager:note", "peers.torch_eager:open_step", ("torch",)),
    ),
)

INT8 = Group(
    "int8",
    "Millstream tvm w8a8",
    _bound("int8"),
    agreement.int8,
    (
        _ours("tvm", "w8a8", "apache-tvm"),
        _ours("numba", "w8a8", "numba"),
        _ours("tvm", "w8", "apache-tvm"),
        Runner("LiteRT int8", "peers.litert:dynamic_int8", "peers.litert:open_step", _LITERT),
        Runner(
            "onnxruntime int8",
            "peers.onnx_runtime:dynamic_int8",
            "peers.onnx_runtime:open_step",
            _ONNXRUNTIME,
        ),
    ),
)

GROUPS = (FLOAT32, INT8)
RUNNERS = tuple(runner for group in GROUPS for runner in (group.bound, *group.runners))
