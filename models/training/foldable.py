"""Train the foldable vision transformer and the foldable stream on JapaneseVowels, briefly, and fold them.

    python models/training/foldable.py

Under a minute on one core. The vision transformer sees an utterance as an image of 24 resampled frames times
12 channels, the stream sees its frames one by one. Nothing is written: training is as fast as reading would
be worth. The same machine and torch version give the same weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream.datasets import japanese_vowels
from millstream.reparameterize import reparameterize
from millstream.sequences import Sequences
from millstream_models.foldable import FoldableStream, FoldableVision, StreamingConfig, VisionConfig

VISION = VisionConfig(channels=1, height=24, length=12, patch=4, classes=9)
STREAM = StreamingConfig(inputs=12, classes=9)
BATCH = 30
EPOCHS = 30


def main() -> None:
    trained, tested = japanese_vowels.train(), japanese_vowels.test()
    for name, model, frames in (
        ("vision", vision(trained), images(trained)),
        ("stream", stream(trained), list(trained.frames)),
    ):
        folded, report = reparameterize(model, frames)
        before, after = report.before, report.after
        accuracies = f"{_accuracy(model, tested):.2%} -> {_accuracy(folded, tested):.2%}"
        print(f"{name}: {len(report.applied)} rewrites, relative error {report.error:.1e}")
        print(f"  test utterances right: {accuracies}")
        print(f"  MACs {before.macs:,} -> {after.macs:,}")
        print(f"  parameters {before.parameters:,} -> {after.parameters:,}")


def vision(split: Sequences, epochs: int = EPOCHS, config: VisionConfig = VISION) -> FoldableVision:
    """The vision transformer, trained; LayerNorm has faded out after half of the updates."""
    torch.manual_seed(0)
    x, y = images(split), torch.from_numpy(split.labels)
    model = FoldableVision(replace(config, updates=epochs * _batches(len(y)) // 2))
    _train(model, x, y, epochs, functional.cross_entropy)
    return model.eval()


def stream(split: Sequences, epochs: int = EPOCHS, config: StreamingConfig = STREAM) -> FoldableStream:
    """The streaming model, trained on the first frames of every utterance, as many as the shortest has."""
    torch.manual_seed(0)
    length = min(len(frames) for frames in split.frames)
    x = torch.stack([torch.tensor(frames[:length]) for frames in split.frames])
    model = FoldableStream(replace(config, updates=epochs * _batches(len(x)) // 2))
    _train(model, x, torch.from_numpy(split.labels), epochs, _last_and_mean)
    return model.eval()


def images(split: Sequences) -> Tensor:
    """Every utterance, resampled over time: (N, 1, 24, 12)."""
    size = (VISION.height, VISION.length)
    utterances = (torch.tensor(frames)[None, None] for frames in split.frames)
    return torch.cat([functional.interpolate(each, size, mode="bilinear") for each in utterances])


def _train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, loss) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, epochs * _batches(len(y)))
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(y)).split(BATCH):
            optimizer.zero_grad()
            loss(model(x[chosen] + 0.1 * torch.randn_like(x[chosen])), y[chosen]).backward()
            optimizer.step()
            schedule.step()


def _last_and_mean(logits: Tensor, labels: Tensor) -> Tensor:
    every = functional.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1]))
    return functional.cross_entropy(logits[:, -1], labels) + every


def _batches(count: int) -> int:
    return -(-count // BATCH)


@torch.no_grad()
def _accuracy(model: nn.Module, split: Sequences) -> float:
    if hasattr(model, "step"):
        found = np.array([int(model(torch.tensor(f)[None])[0, -1].argmax()) for f in split.frames])
    else:
        found = model(images(split)).argmax(1).numpy()
    return float((found == split.labels).mean())


if __name__ == "__main__":
    main()
