"""Coarse operations of one step, as torch custom operators of the namespace `millstream`.

Each file holds one operator: its definition in plain torch and the shapes it gives. An exporter may
keep the operator whole, as one function of the step graph, instead of tracing into it. They serve
steps only and have no derivative: train through a model's sequence form.
"""

from millstream_models.core.causal_conv_ring import causal_conv_ring
from millstream_models.core.linear_memory import linear_memory

__all__ = ["causal_conv_ring", "linear_memory"]
