"""Which rule serves which operator; the rest is tried as local."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from millstream.streamify.operators.attention import attention
from millstream.streamify.operators.convolution import convolution, pooling, transposed, unfold
from millstream.streamify.operators.cumulative import cumulative, reduction
from millstream.streamify.operators.cutting import cat, cut, padding, select, written
from millstream.streamify.operators.positions import arange
from millstream.streamify.operators.recurrent import recurrent
from millstream.streamify.planner import Call, Planner

Rule = Callable[[Planner, Call], Any]

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), transposed),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "max_pool1d", "max_pool2d"), pooling),
    **dict.fromkeys(("pad", "constant_pad_nd"), padding),
    **dict.fromkeys(("rnn_tanh", "rnn_relu", "gru", "lstm"), recurrent),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin"), cumulative),
    **dict.fromkeys(("sum", "mean", "amax", "amin"), reduction),
    "arange": arange,
    "cat": cat,
    "scaled_dot_product_attention": attention,
    "select": select,
    "slice": cut,
    "slice_scatter": written,
    "unfold": unfold,
}
