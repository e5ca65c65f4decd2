"""The layers that a deployed form needs and torch has not."""

from __future__ import annotations

from torch import Tensor, nn


class ChannelAffine(nn.Module):
    """y = scale * x + shift per channel; without a scale y = x + shift.

    Args:
        scale: (C,) or None.
        shift: (C,).
        axis: of the channels in x: 1 for images and torch's own order, -1 for channels last.
    """

    def __init__(self, scale: Tensor | None, shift: Tensor, axis: int) -> None:
        super().__init__()
        self.scale = None if scale is None else nn.Parameter(scale, requires_grad=False)
        self.shift = nn.Parameter(shift, requires_grad=False)
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Any shape with C channels on the axis to the same shape."""
        trailing = (1,) * (x.dim() - 1 - self.axis % x.dim())
        shift = self.shift.reshape(-1, *trailing)
        return x + shift if self.scale is None else x * self.scale.reshape(-1, *trailing) + shift


class SplitFeedForward(nn.Module):
    """y = outer(activation(inner(x))) + bypass(x): what a channel-idle feed-forward layer folds into."""

    def __init__(self, inner: nn.Linear, activation: nn.Module, outer: nn.Linear, bypass: nn.Linear) -> None:
        super().__init__()
        self.inner, self.activation, self.outer, self.bypass = inner, activation, outer, bypass

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        return self.outer(self.activation(self.inner(x))) + self.bypass(x)
