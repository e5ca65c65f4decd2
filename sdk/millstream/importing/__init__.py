"""Streaming ONNX files brought in: made static, their states paired, and held against the original."""

from __future__ import annotations

from millstream.importing.converting import Imported, imported

__all__ = ["Imported", "imported"]
