"""Changes of a float step that make its rounding cost less: which were kept, and what they gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.graph import StepGraph, origin
from millstream.quantize.product import Product


@dataclass(frozen=True)
class Gain:
    """One change that was kept: its name, the modules of the products around it, and how far the format moved
    their results (relative RMS of each alone, added up) before it and with it."""

    method: str
    modules: tuple[str, ...]
    before: float
    after: float


@dataclass(frozen=True)
class Prepared:
    """A float step that computes what it did, and the changes in it."""

    graph: StepGraph
    gains: tuple[Gain, ...] = ()


def gain(method: str, products: Sequence[Product], before: float, after: float) -> Gain:
    """The gain of a change around these products."""
    modules = (origin(product.node) or product.output for product in products)
    return Gain(method, tuple(dict.fromkeys(modules)), before, after)
