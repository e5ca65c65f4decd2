"""What is sent to a device: files in a tar archive, with their hashes, under a name that they give."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

SUMS = "SHA256SUMS"
#: Files that are run.
_PROGRAMS = ("run", "step")


@dataclass(frozen=True)
class Payload:
    """Files by their path. The same files have the same id and make the same archive."""

    files: Mapping[str, bytes]

    @property
    def sums(self) -> bytes:
        """The text of SHA256SUMS, which names every other file."""
        lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(self.files.items()))
        return "".join(lines).encode()

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of SHA256SUMS, and through it of everything."""
        return hashlib.sha256(self.sums).hexdigest()

    @property
    def id(self) -> str:
        """The name of the version on the device."""
        return self.sha256[:16]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    def archive(self) -> bytes:
        """All files as tar, owned by whoever unpacks them."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in [*sorted(self.files.items()), (SUMS, self.sums)]:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o755 if name in _PROGRAMS else 0o644
                tar.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()
