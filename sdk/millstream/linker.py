"""The C compiler of this host, which links what TVM compiles."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from millstream.errors import LinkFailed

_COMPILERS = ("cc", "gcc", "clang")
INSTALL = "apt install gcc libc6-dev"


def linker() -> str:
    """The path of the first C compiler that is here, or an empty text."""
    return next(filter(None, map(shutil.which, _COMPILERS)), "")


def link(command: Sequence[str]) -> None:
    """Run a linker. Raises LinkFailed with what it says."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LinkFailed("the step cannot be linked", where=" ".join(command), why=done.stderr.strip())
