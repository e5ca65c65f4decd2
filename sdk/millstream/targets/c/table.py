"""Numbers as a const array of C."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from millstream.targets.c.literal import TYPES, literal

_WIDTH = 100


@dataclass(frozen=True)
class Table:
    """A const array with at least one element."""

    name: str
    values: np.ndarray

    @property
    def declaration(self) -> str:
        return f"const {TYPES[self.values.dtype.name]} {self.name}[{self.values.size}]"

    def definition(self) -> Iterator[str]:
        """The array with its numbers, as many on a line as fit."""
        yield f"{self.declaration} = {{"
        line = "   "
        for value in self.values.tolist():
            text = f" {literal(value, self.values.dtype.name)},"
            if len(line) + len(text) > _WIDTH:
                yield line
                line = "   "
            line += text
        yield line
        yield "};"
