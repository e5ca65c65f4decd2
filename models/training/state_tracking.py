"""Train small DeltaNets to track a state: the parity of ones, and a sum modulo three.

    python models/training/state_tracking.py

With strengths up to 1 the eigenvalues of a delta step lie between 0 and 1 and parity cannot be kept; with
strengths up to 2 they reach -1 and it can. One reflection a frame cannot count modulo three; two make a
rotation and can. Sequences grow to 40 tokens in training and are read at 60 to 80 in the test. A few
minutes each on one core. `--save` puts the weights beside the model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import millstream_models.deltanet
from millstream_models.core.shell import StreamModel
from millstream_models.deltanet.state_tracking import TASKS, Task, accuracy, batch, tracker

FOLDER = Path(millstream_models.deltanet.__file__).parent
ROWS, SHORTEST, LONGEST = 64, 8, 40


def train(task: Task, steps: int, seed: int = 0) -> StreamModel:
    """AdamW at a rate that rises and falls once; lengths grow over the first half."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = tracker(task)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps, pct_start=0.1)
    for step in range(steps):
        length = min(LONGEST, SHORTEST + (LONGEST - SHORTEST) * 2 * step // steps)
        tokens, sums = batch(task, ROWS, length, generator)
        loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), sums.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def main() -> None:
    """Train every task, or those whose weights are named, and print how much of the tests is right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "weights", nargs="*", metavar="FILE", help="names of weights as in TASKS; all by default"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    for task in TASKS:
        if options.weights and task.weights not in options.weights:
            continue
        model = train(task, options.steps, options.seed)
        print(
            f"{task.weights:40} {accuracy(task, model):7.1%} right, chance {1 / task.modulus:.0%}", flush=True
        )
        if options.save:
            save_file(model.state_dict(), FOLDER / task.weights)


if __name__ == "__main__":
    main()
