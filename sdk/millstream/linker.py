"""The C compiler of this host, which links what TVM compiles."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from millstream.errors import LinkFailed

_COMPILERS = ("cc", "gcc", "clang")
INSTALL = "apt install gcc libc6-dev"
# Nothing of the build itself goes in, such as names of temporary files: the same objects, the same bytes.
_OPTIONS = ("-shared", "-s", "-Wl,--build-id=none")


def linker() -> str:
    """The path of the first C compiler that is here, or an empty text."""
    return next(filter(None, map(shutil.which, _COMPILERS)), "")


def link(objects: Sequence[str], library: str, *options: str) -> None:
    """Link object files to the shared library at the path `library`. Raises LinkFailed."""
    command = [linker(), *objects, *_OPTIONS, *options, "-lm", "-o", library]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LinkFailed("the step cannot be linked", where=" ".join(command), why=done.stderr.strip())
