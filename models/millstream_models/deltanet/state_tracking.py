"""Sums of tokens modulo a number: what a recurrence can keep track of, and what it cannot."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from millstream_models.core.shell import Block, StreamModel
from millstream_models.deltanet.model import DeltaNet


@dataclass(frozen=True)
class Task:
    """Sum tokens modulo `modulus`, with so many delta steps a frame and strengths up to a largest.

    `weights` is the file of the trained model, beside this one.
    """

    name: str
    weights: str
    modulus: int
    micro_steps: int
    largest_strength: float


TASKS = (
    Task("parity", "parity_signed.safetensors", 2, 1, 2.0),
    Task("parity", "parity_positive.safetensors", 2, 1, 1.0),
    Task("sum modulo 3", "modulo_three_one_step.safetensors", 3, 1, 2.0),
    Task("sum modulo 3", "modulo_three_two_steps.safetensors", 3, 2, 2.0),
)

WIDTH, HEADS = 32, 4


def tracker(task: Task) -> StreamModel:
    """An untrained model of one block: whatever is tracked is tracked by one recurrence.

    It takes tokens (B, T) and gives a score for every remainder, (B, T, modulus).
    """
    mixer = DeltaNet(WIDTH, HEADS, task.micro_steps, task.largest_strength)
    return StreamModel(nn.Embedding(task.modulus, WIDTH), [Block(WIDTH, mixer)], WIDTH, task.modulus)


def batch(task: Task, rows: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random tokens (rows, length), and the remainder of their sum up to each."""
    tokens = torch.randint(0, task.modulus, (rows, length), generator=generator)
    return tokens, tokens.cumsum(1) % task.modulus


@torch.no_grad()
def accuracy(task: Task, model: StreamModel, first: int = 60, last: int = 80) -> float:
    """Share of right answers at places `first` to `last` of 64 sequences that no training has seen.

    Training goes to 40.
    """
    tokens, sums = batch(task, 64, last, torch.Generator().manual_seed(99))
    right = model(tokens).argmax(-1) == sums
    return float(right[:, first:].float().mean())
