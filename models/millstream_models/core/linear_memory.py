"""One step of a linear time-invariant memory that is driven by one scalar."""

import torch
from torch import Tensor


@torch.library.custom_op("millstream::linear_memory", mutates_args=())
def linear_memory(u: Tensor, transition: Tensor, input_matrix: Tensor, past: Tensor) -> Tensor:
    """Advance the memory: present = transition @ past + input_matrix * u, row by row.

    Args:
        u: the scalar that is written, (B, 1).
        transition: (Q, Q).
        input_matrix: (Q,).
        past: the memory before the step, (B, Q).

    Returns:
        The memory after the step, (B, Q).
    """
    return past @ transition.T + u * input_matrix


@linear_memory.register_fake
def _shapes(u: Tensor, transition: Tensor, input_matrix: Tensor, past: Tensor) -> Tensor:
    return past.new_empty(past.shape)
