"""What the reference models share.

Each file of this folder holds one coarse operation of a step, as a torch custom operator of the namespace
`millstream`: its definition in plain torch and the shapes it gives. An exporter may keep the operator
whole, as one function of the step graph, instead of tracing into it. They serve steps only and have no
derivative: train through a model's sequence form.

`forms` pairs every operation with its form for whole sequences, `parts` holds layers, and `shell` the blocks
and the model around a mixer.
"""

from millstream_models.core.causal_conv_ring import causal_conv_ring
from millstream_models.core.causal_depthwise_ring import causal_depthwise_ring
from millstream_models.core.complex_diagonal import complex_diagonal
from millstream_models.core.delta_rule import delta_rule
from millstream_models.core.linear_memory import linear_memory
from millstream_models.core.linear_recurrence import linear_recurrence
from millstream_models.core.rank_one_recurrence import rank_one_recurrence

__all__ = [
    "causal_conv_ring",
    "causal_depthwise_ring",
    "complex_diagonal",
    "delta_rule",
    "linear_memory",
    "linear_recurrence",
    "rank_one_recurrence",
]
