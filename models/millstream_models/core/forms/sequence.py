"""The sequence form of every operation: all frames (B, T, ...) at once, and the state before the first."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from millstream_models.core.forms.chunked import chunked_linear_recurrence, chunked_rank_one_recurrence
from millstream_models.core.forms.form import Cell, Form, Mix
from millstream_models.core.forms.gating import stabilize_sequence


def _delta(
    q: Tensor, k: Tensor, v: Tensor, strength: Tensor, decay: Tensor, past: Tensor
) -> tuple[Tensor, Tensor]:
    """S' = S diag(a) + s (v - S diag(a) k) kᵀ is diagonal plus rank one, with the probe a k."""
    return chunked_rank_one_recurrence(q, k * strength, v, decay, -k * strength, decay * k, past)


def _delta_product(
    q: Tensor, k: Tensor, v: Tensor, strength: Tensor, decay: Tensor, past: Tensor
) -> tuple[Tensor, Tensor]:
    """Micro-steps as frames of their own; what is read before the last is not used."""
    count = k.shape[2]
    still = torch.ones_like(decay).unsqueeze(2).expand(-1, -1, count - 1, -1, -1)
    decays = torch.cat((decay.unsqueeze(2), still), 2).flatten(1, 2)
    queries = q.repeat_interleave(count, 1)
    o, state = _delta(queries, k.flatten(1, 2), v.flatten(1, 2), strength.flatten(1, 2), decays, past)
    return o[:, count - 1 :: count], state


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    window = torch.cat((past, x), 1)
    y = functional.conv1d(window.mT, weight.mT.unsqueeze(1), bias, groups=weight.shape[1]).mT
    return y, window[:, x.shape[1] :]


def _oscillate(
    u: Tensor,
    real: Tensor,
    imaginary: Tensor,
    read_real: Tensor,
    read_imaginary: Tensor,
    past_real: Tensor,
    past_imaginary: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """By FFT: the response to the input, and what is left of the past, aⁿ x."""
    length = u.shape[1]
    transition, read = torch.complex(real, imaginary), torch.complex(read_real, read_imaginary)
    powers = _powers(transition, length + 1)
    response = (read.unsqueeze(-1) * powers[..., :-1]).sum(1).real
    # Twice the length: the product of spectra is a circular convolution.
    spectrum = torch.fft.rfft(u.mT, n=2 * length) * torch.fft.rfft(response, n=2 * length)
    driven = torch.fft.irfft(spectrum, n=2 * length)[..., :length]
    past = torch.complex(past_real, past_imaginary)
    left = torch.einsum("bcn,cn,cnt->bct", past, read, powers[..., 1:]).real
    last = torch.einsum("bct,cnt->bcn", u.mT.to(powers.dtype), powers[..., :-1].flip(-1))
    present = powers[..., -1] * past + last
    return (driven + left).mT, present.real, present.imag


def _powers(transition: Tensor, count: int) -> Tensor:
    """1, a, a², ..., (C, N, count), by doubling: as few roundings as the steps have bits."""
    powers = torch.ones_like(transition).unsqueeze(-1)
    highest = transition
    while powers.shape[-1] < count:
        powers = torch.cat((powers, powers * highest.unsqueeze(-1)), -1)
        highest = highest * highest
    return powers[..., :count]


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
    """By FFT, as `_oscillate`; M is the transition as a dense real matrix of both parts, taken to powers by
    doubling."""
    length, pairs = u.shape[1], real.shape[-1]
    upper = torch.cat((torch.diag_embed(real), torch.diag_embed(-imaginary)), -1)
    lower = torch.cat((torch.diag_embed(imaginary), torch.diag_embed(real)), -1)
    write = torch.cat((write_real, write_imaginary), -1)
    probe, read = torch.cat((probe_real, -probe_imaginary), -1), torch.cat((read_real, -read_imaginary), -1)
    matrix = torch.cat((upper, lower), -2) - write.unsqueeze(-1) * probe.unsqueeze(-2)
    past = torch.cat((past_real, past_imaginary), -1)
    # Columns M^t e, where e is what an input of 1 leaves; rows read M^(t + 1).
    columns = torch.cat((torch.ones_like(real), torch.zeros_like(real)), -1).unsqueeze(-1)
    rows, power = read.unsqueeze(-2) @ matrix, matrix
    while rows.shape[-2] < length:
        columns, rows = torch.cat((columns, power @ columns), -1), torch.cat((rows, rows @ power), -2)
        power = power @ power
    columns, rows = columns[..., :length], rows[..., :length, :]
    response = (read.unsqueeze(-2) @ columns).squeeze(-2)
    spectrum = torch.fft.rfft(u.mT, n=2 * length) * torch.fft.rfft(response, n=2 * length)
    driven = torch.fft.irfft(spectrum, n=2 * length)[..., :length]
    left = torch.einsum("ctn,bcn->bct", rows, past)
    last = torch.einsum("bct,cnt->bcn", u.mT, columns.flip(-1))
    present = (torch.linalg.matrix_power(matrix, length) @ past.unsqueeze(-1)).squeeze(-1) + last
    return (driven + left).mT, present[..., :pairs], present[..., pairs:]


def _remember(u: Tensor, transition: Tensor, input_matrix: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """By FFT: the response to the input, and what is left of the past, transition^t past."""
    length = u.shape[1]
    column, columns, left = input_matrix, [], []
    for _ in range(length):
        columns.append(column)
        column = transition @ column
        past = past @ transition.T
        left.append(past)
    response = torch.stack(columns)
    spectrum = torch.fft.rfft(u, n=2 * length, dim=1) * torch.fft.rfft(response, n=2 * length, dim=0)
    memory = torch.fft.irfft(spectrum, n=2 * length, dim=1)[:, :length] + torch.stack(left, 1)
    return memory, memory[:, -1]


def _previous(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat((past.unsqueeze(1), x[:, :-1]), 1), x[:, -1]


def _total(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.cat((past.unsqueeze(1), x), 1).cumsum(1)[:, 1:]
    return total, total[:, -1]


def _window(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    frames, width = torch.cat((past, x), 1), past.shape[1] + 1
    return frames.unfold(1, width, 1).movedim(-1, 2), frames[:, x.shape[1] :]


def _frame_by_frame(mix: Mix, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Sequences of one frame, not steps: coarse operations have no derivative."""
    outputs = []
    for frame in x.split(1, 1):
        y, state = mix(frame, state, SEQUENCE)
        outputs.append(y)
    return torch.cat(outputs, 1), state


def _loop(
    cell: Cell, inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    outputs = []
    for frame in zip(*(x.unbind(1) for x in inputs), strict=True):
        y, state = cell(frame, state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


SEQUENCE = Form(
    recur=chunked_linear_recurrence,
    delta=_delta,
    delta_product=_delta_product,
    rank_one=chunked_rank_one_recurrence,
    convolve=_convolve,
    oscillate=_oscillate,
    oscillate_coupled=_oscillate_coupled,
    remember=_remember,
    previous=_previous,
    total=_total,
    stabilize=stabilize_sequence,
    window=_window,
    frame_by_frame=_frame_by_frame,
    loop=_loop,
)
