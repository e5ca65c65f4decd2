"""The C compiler of this host, which links what TVM compiles."""

from __future__ import annotations

import shutil

_COMPILERS = ("cc", "gcc", "clang")
INSTALL = "apt install gcc libc6-dev"


def linker() -> str:
    """The path of the first C compiler that is here, or an empty text."""
    return next(filter(None, map(shutil.which, _COMPILERS)), "")
