"""The step form of every operation: one frame (B, ...) and the state before it."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.causal_depthwise_ring import causal_depthwise_ring
from millstream_models.core.complex_diagonal import complex_diagonal
from millstream_models.core.delta_rule import delta_rule
from millstream_models.core.forms.form import Cell, Form, Mix
from millstream_models.core.forms.gating import stabilize
from millstream_models.core.linear_memory import linear_memory
from millstream_models.core.linear_recurrence import linear_recurrence
from millstream_models.core.rank_one_recurrence import rank_one_recurrence


def _delta_product(
    q: Tensor, k: Tensor, v: Tensor, strength: Tensor, decay: Tensor, past: Tensor
) -> tuple[Tensor, Tensor]:
    o, state = delta_rule(q, k[:, 0], v[:, 0], strength[:, 0], decay, past)
    for j in range(1, k.shape[1]):
        o, state = delta_rule(q, k[:, j], v[:, j], strength[:, j], torch.ones_like(decay), state)
    return o, state


def _oscillate_coupled(
    u: Tensor,
    real: Tensor,
    imaginary: Tensor,
    write_real: Tensor,
    write_imaginary: Tensor,
    probe_real: Tensor,
    probe_imaginary: Tensor,
    read_real: Tensor,
    read_imaginary: Tensor,
    past_real: Tensor,
    past_imaginary: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    found = (probe_real * past_real - probe_imaginary * past_imaginary).sum(-1, keepdim=True)
    present_real = real * past_real - imaginary * past_imaginary - write_real * found + u.unsqueeze(-1)
    present_imaginary = real * past_imaginary + imaginary * past_real - write_imaginary * found
    y = (read_real * present_real - read_imaginary * present_imaginary).sum(-1)
    return y, present_real, present_imaginary


def _remember(u: Tensor, transition: Tensor, input_matrix: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    present = linear_memory(u, transition, input_matrix, past)
    return present, present


def _previous(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    return past, x


def _total(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    total = past + x
    return total, total


def _stabilize(log_decay: Tensor, log_write: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    decay, write, present = stabilize(log_decay, log_write, past)
    return decay, write, present, present


def _window(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    window = torch.cat((past, x.unsqueeze(1)), 1)
    return window, window[:, 1:]


def _frame_by_frame(mix: Mix, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    return mix(x, state, STEP)


def _loop(
    cell: Cell, inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    return cell(inputs, state)


STEP = Form(
    recur=linear_recurrence,
    delta=delta_rule,
    delta_product=_delta_product,
    rank_one=rank_one_recurrence,
    convolve=causal_depthwise_ring,
    oscillate=complex_diagonal,
    oscillate_coupled=_oscillate_coupled,
    remember=_remember,
    previous=_previous,
    total=_total,
    stabilize=_stabilize,
    window=_window,
    frame_by_frame=_frame_by_frame,
    loop=_loop,
)
