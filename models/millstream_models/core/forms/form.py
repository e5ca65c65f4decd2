"""A form of time: the same mixer, written once, runs over a whole sequence or one frame at a time.

A mixer's body is `mix(x, state, form)`. Per-frame layers act on the last axis and do not care whether there
is a time axis before it; whatever crosses frames goes through the form. `STEP` takes frames (B, ...) and
`SEQUENCE` takes (B, T, ...); both take and give the same states, so a prefix may run in one form and the rest
in the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

#: One frame's inputs and the state before it -> the output and the state after it.
Cell = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]

#: A mixer's body: frames, state and form -> frames and state.
Mix = Callable[[Tensor, "dict[str, Tensor]", "Form"], "tuple[Tensor, dict[str, Tensor]]"]


@dataclass(frozen=True)
class Form:
    """What crosses frames. Shapes are given for one frame; a sequence has T after B.

    Attributes:
        recur: `linear_recurrence`.
        delta: `delta_rule`.
        delta_product: the delta rule with M micro-steps a frame: k, v and strength have M before H; the decay
            comes before the first, the read after the last.
        rank_one: `rank_one_recurrence`.
        convolve: `causal_depthwise_ring`.
        oscillate: `complex_diagonal`.
        oscillate_coupled: the same with a transition of diagonal plus rank one: the parts of its diagonal, of
            what it writes and probes (x' = a x - w Re(p · x) + u), of the read, and of the past.
        remember: `linear_memory`.
        previous: (x, past) -> the frame before x, and x itself as the next past.
        total: (x, past) -> the sum of all frames up to x, twice: as the result and as the next past.
        stabilize: (log decay, log write, past) -> decay, write and maximum at the frame, and the next past.
        window: (x, past) -> the last W frames up to x, oldest first, (B, W, ...), and the last W - 1 of them.
        frame_by_frame: (mix, x, state) -> frames and state; runs a `mix` of its own form one frame at a time,
            for mixers in which a frame decides what the next one finds.
        loop: (cell, inputs, state) -> outputs and state, for what has no parallel form.
    """

    recur: Callable[..., tuple[Tensor, Tensor]]
    delta: Callable[..., tuple[Tensor, Tensor]]
    delta_product: Callable[..., tuple[Tensor, Tensor]]
    rank_one: Callable[..., tuple[Tensor, Tensor]]
    convolve: Callable[..., tuple[Tensor, Tensor]]
    oscillate: Callable[..., tuple[Tensor, Tensor, Tensor]]
    oscillate_coupled: Callable[..., tuple[Tensor, Tensor, Tensor]]
    remember: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    previous: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    total: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    stabilize: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
    window: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    frame_by_frame: Callable[[Mix, Tensor, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
    loop: Callable[[Cell, tuple[Tensor, ...], tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]
