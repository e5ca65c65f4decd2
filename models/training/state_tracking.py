"""Train small DeltaNets to track a state: the parity of ones, and a sum modulo three.

    python models/training/state_tracking.py

Trained on sequences of up to 40 tokens, tested on 200. With strengths up to 1 the eigenvalues of a delta
step lie between 0 and 1 and parity cannot be kept; with strengths up to 2 they reach -1 and it can. One
reflection a token cannot count modulo three, two make a rotation and can. Seconds per run on one core.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from millstream_models.core.shell import Block, StreamModel
from millstream_models.deltanet import DeltaNet

TRAIN, TEST, BATCH = 40, 200, 64


@dataclass(frozen=True)
class Task:
    """Sum tokens modulo `modulus`, with a DeltaNet of so many micro-steps and strengths up to a largest."""

    name: str
    modulus: int
    micro_steps: int
    largest_strength: float
    steps: int


TASKS = (
    Task("parity, strengths up to 2", 2, 1, 2.0, 1200),
    Task("parity, strengths up to 1", 2, 1, 1.0, 1200),
    Task("modulo 3, one step", 3, 1, 2.0, 2000),
    Task("modulo 3, two steps", 3, 2, 2.0, 2000),
)


def model(task: Task, width: int = 16) -> StreamModel:
    """One block, one layer: whatever is tracked is tracked by one recurrence."""
    mixer = DeltaNet(width, 2, task.micro_steps, task.largest_strength)
    return StreamModel(nn.Embedding(task.modulus, width), [Block(width, mixer)], width, task.modulus)


def batch(task: Task, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random tokens (BATCH, length), and their sum so far modulo the task's modulus."""
    tokens = torch.randint(0, task.modulus, (BATCH, length), generator=generator)
    return tokens, tokens.cumsum(1) % task.modulus


def train(task: Task, seed: int = 0) -> StreamModel:
    """Adam with a falling rate, lengths rising from 2 to TRAIN over the first half."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = model(task)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task.steps)
    for step in range(task.steps):
        length = min(TRAIN, 2 + 2 * (TRAIN * step // task.steps))
        tokens, sums = batch(task, length, generator)
        loss = nn.functional.cross_entropy(net(tokens).flatten(0, 1), sums.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(task: Task, net: StreamModel, length: int = TEST) -> float:
    """Share of right answers over the last quarter of sequences that are longer than those of training."""
    tokens, sums = batch(task, length, torch.Generator().manual_seed(99))
    right = net(tokens).argmax(-1) == sums
    return float(right[:, -length // 4 :].float().mean())


def main() -> None:
    """Train every task and print how much of the tests is right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    for task in TASKS:
        net = train(task, seed)
        print(f"{task.name:28} {accuracy(task, net):7.1%} right, chance {1 / task.modulus:.0%}", flush=True)


if __name__ == "__main__":
    main()
