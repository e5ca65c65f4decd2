"""What a target without Python takes of its device, on one line."""

from __future__ import annotations

from collections.abc import Mapping

from millstream.budget import flash, ram
from millstream.object_files import code_bytes
from millstream_runtime.spec import Memory


def device_memory(memory: Memory, files: Mapping[str, bytes]) -> str:
    """Flash and RAM; of sources the code is not known before they are compiled."""
    code = code_bytes(files)
    known = f" ({code:,} B of it code)" if code else " and code"
    return f"flash {flash(memory, code):,} B{known}, RAM {ram(memory):,} B a stream"
