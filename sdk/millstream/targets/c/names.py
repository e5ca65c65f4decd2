"""Names of a model turned into names of C, and its texts into comments."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: What a lower-case identifier must not be: keywords of C and C++, names of <stdbool.h>, and macros that
#: compilers for Unix define.
_RESERVED = frozenset(
    "alignas alignof and asm auto bool break case catch char class const constexpr continue "
    "default delete do double else enum explicit export extern false float for friend goto if "
    "inline int linux long mutable namespace new not nullptr operator or private protected "
    "public register restrict return short signed sizeof static struct switch template this "
    "throw true try typedef typeid typeof union unix unsigned using virtual void volatile "
    "wchar_t while xor".split()
)


def identifier(text: str) -> str:
    """A lower-case C identifier that resembles `text`; upper case is left to macros."""
    name = re.sub(r"\W+", "_", text.lower(), flags=re.ASCII).strip("_") or "unnamed"
    return f"n{name}" if name[0].isdigit() else f"{name}_" if name in _RESERVED else name


def identifiers(texts: Iterable[str]) -> list[str]:
    """One identifier for each text, in order; texts that look alike in C are numbered."""
    found: list[str] = []
    for text in texts:
        name = plain = identifier(text)
        number = 2
        while name in found:
            name, number = f"{plain}_{number}", number + 1
        found.append(name)
    return found


def comment(text: str) -> str:
    """A comment on one line; nothing in `text` ends it or begins another."""
    line = re.sub(r"[^!-~]+", " ", text).strip()
    return f"/* {line.replace('*/', '* /').replace('/*', '/ *')} */"
