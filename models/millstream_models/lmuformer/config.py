"""The sizes of an LMUFormer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LMUFormerConfig:
    """Sizes of a model: `inputs` channels per frame, `width` features, `classes` logits.

    The memory holds a window of `theta` frames in `order` coefficients. `expansion` is the hidden width
    of the channel mixer in units of `width`. With `normalize_input`, raw frames go in and the model holds
    their mean and scale per channel.
    """

    inputs: int
    classes: int
    width: int
    order: int
    theta: float
    blocks: int = 1
    expansion: int = 4
    normalize_input: bool = False
