"""The packages that Millstream asks for, as its own metadata lists them, and how to install each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

_REQUIREMENT = re.compile(r"""([\w.-]+)\s*([^;]*?)\s*(?:;\s*extra == ['"]([\w-]+)['"])?""")

#: Modules that are called otherwise than their distribution.
_DISTRIBUTIONS = {"tvm": "apache-tvm"}


@dataclass(frozen=True)
class Requirement:
    """A distribution, the versions that will do, and the extras that bring it ("" for the base)."""

    name: str
    versions: str
    extras: tuple[str, ...]

    @property
    def installed(self) -> str:
        """The installed version, or an empty text."""
        try:
            return version(self.name)
        except PackageNotFoundError:
            return ""

    @property
    def install(self) -> str:
        """The line that installs it."""
        extra = self.extras[0]
        return f"pip install 'millstream[{extra}]'" if extra else "pip install millstream"


@cache
def requirements() -> tuple[Requirement, ...]:
    """Every package once, in the order of the metadata; the extra `all` is left out, it only repeats."""
    found: dict[str, Requirement] = {}
    for line in requires("millstream") or ():
        match = _REQUIREMENT.fullmatch(line)
        if match is None or match[3] == "all":
            continue
        name, versions, extra = match[1], match[2], match[3] or ""
        before = found[name].extras if name in found else ()
        found[name] = Requirement(name, versions, (*before, extra))
    return tuple(found.values())


def install_line(module: str) -> str:
    """The line that installs what `import module` needs; empty when Millstream does not ask for it."""
    top = module.partition(".")[0]
    wanted = _DISTRIBUTIONS.get(top, top)
    return next((each.install for each in requirements() if each.name == wanted), "")
