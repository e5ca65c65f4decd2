"""Train the classifier of activities on BasicMotions and write its weights beside the model.

    python models/training/motion.py                    # train, report, write
    python models/training/motion.py --cross-validate   # judge the recipe on the training split alone

A minute on one core, five with cross-validation. The same machine and torch version give the same weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

import millstream_models.motion
from millstream.datasets import basic_motions
from millstream.sequences import Sequences
from millstream_models.core.shell import StreamModel
from millstream_models.motion import motion

WEIGHTS = Path(millstream_models.motion.__file__).with_name("basic_motions.safetensors")
STEPS, BATCH, LEARNING_RATE, FOLDS = 300, 20, 5e-3, 5


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the classifier of activities on BasicMotions.")
    parser.add_argument("--cross-validate", action="store_true", help="five folds of the training split")
    split = basic_motions.train()
    if parser.parse_args().cross_validate:
        fold = np.arange(len(split.labels)) % FOLDS
        rights = [
            right(train(_select(split, fold != i)), _select(split, fold == i)).sum() for i in range(FOLDS)
        ]
        print(f"held-out folds: {sum(rights)} of {len(split.labels)} right")
        return
    model, test = train(split), basic_motions.test()
    print(f"test: {right(model, test).sum()} of {len(test.labels)} right at the last sample")
    for seconds in (1, 2, 5):
        early = right(model, test, int(seconds * basic_motions.FRAME_RATE))
        print(f"after {seconds} s: {early.sum()} of {len(test.labels)}")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, WEIGHTS)
    print(f"wrote {WEIGHTS}, {WEIGHTS.stat().st_size:,} bytes")


def train(split: Sequences) -> StreamModel:
    """A model trained on `split`, in evaluation mode. Every sample counts, later ones not more."""
    torch.manual_seed(0)
    x, y = torch.tensor(np.stack(split.frames)), torch.from_numpy(split.labels)
    model = motion().train()
    frames = x.flatten(0, 1)
    model.inlet[0].load_state_dict({"mean": frames.mean(0), "scale": 1 / frames.std(0)})  # type: ignore[index]
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(x), (BATCH,))
        logits = model(_disturbed(x[chosen]))
        loss = functional.cross_entropy(logits.flatten(0, 1), y[chosen].repeat_interleave(logits.shape[1]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def _disturbed(x: Tensor) -> Tensor:
    """Stronger or weaker, from another start, noisy, and with the watch turned about each of its axes."""
    size = torch.exp(0.15 * torch.randn(len(x), 1, 1))
    turned = torch.where(torch.rand(len(x), 1, 3) < 0.2, -1.0, 1.0).repeat(1, 1, 2)
    start = int(torch.randint(x.shape[1] // 2, ()))
    return (x * size * turned + 0.1 * torch.randn_like(x))[:, start:]


@torch.no_grad()
def right(model: StreamModel, split: Sequences, samples: int | None = None) -> np.ndarray:
    """Which recordings are named right after so many samples, or after all of them."""
    logits = model(torch.tensor(np.stack(split.frames))[:, :samples])
    return logits[:, -1].argmax(-1).numpy() == split.labels


def _select(split: Sequences, keep: np.ndarray) -> Sequences:
    chosen = np.flatnonzero(keep)
    return Sequences(tuple(split.frames[i] for i in chosen), split.labels[chosen])


if __name__ == "__main__":
    main()
