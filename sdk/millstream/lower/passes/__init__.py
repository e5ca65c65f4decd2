"""The passes, in order. Each takes a draft and returns one that computes the same."""

from __future__ import annotations

from collections.abc import Callable

from millstream.lower.draft import Draft
from millstream.lower.passes.canonical import canonical
from millstream.lower.passes.cut import cut_copies
from millstream.lower.passes.epilogue import merge_epilogues
from millstream.lower.passes.forward import forward_stores
from millstream.lower.passes.halve import halve_kept
from millstream.lower.passes.hoist import hoist_factors
from millstream.lower.passes.inline import inline
from millstream.lower.passes.keep import keep_stores
from millstream.lower.passes.layout import order_constants
from millstream.lower.passes.prune import prune
from millstream.lower.passes.unroll import unroll_sums

#: Run again and again until a round changes nothing.
FUSION: tuple[Callable[[Draft], Draft], ...] = (
    inline,
    prune,
    hoist_factors,
    merge_epilogues,
    forward_stores,
    canonical,
    cut_copies,
    unroll_sums,
)

#: Run once, after fusion.
FINAL: tuple[Callable[[Draft], Draft], ...] = (keep_stores, halve_kept, order_constants, prune)
