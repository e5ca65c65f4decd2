"""The toolchain of Millstream: prove a PyTorch sequence model, export it, inspect and measure the result.

    import millstream

    millstream.export(model, example, target="cpu").save("kws.mill")

Importing this package imports nothing heavy: torch, onnx and the rest come with the first use of a name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from millstream import errors
    from millstream.budget import Budget
    from millstream.exporting import About, Exported, export
    from millstream.ladder import Ladder, Rung, Watcher
    from millstream.sequences import Sequences
    from millstream.signing import SigningKey
    from millstream.streamify import frames_of, streamify
    from millstream_runtime.errors import MillstreamError

__all__ = [
    "About",
    "Budget",
    "Exported",
    "Ladder",
    "MillstreamError",
    "Rung",
    "Sequences",
    "SigningKey",
    "Watcher",
    "__version__",
    "errors",
    "export",
    "frames_of",
    "streamify",
]

_HOMES = {
    "About": "millstream.exporting",
    "Budget": "millstream.budget",
    "Exported": "millstream.exporting",
    "Ladder": "millstream.ladder",
    "MillstreamError": "millstream_runtime.errors",
    "Rung": "millstream.ladder",
    "Sequences": "millstream.sequences",
    "SigningKey": "millstream.signing",
    "Watcher": "millstream.ladder",
    "export": "millstream.exporting",
    "frames_of": "millstream.streamify.convert",
    "streamify": "millstream.streamify.convert",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name == "__version__":
        return import_module("importlib.metadata").version("millstream")
    if name == "errors":
        return import_module("millstream.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'millstream' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
