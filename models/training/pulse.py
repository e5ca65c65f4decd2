"""Train the surprise meter on the start of a blood pressure record, and write its weights beside the model.

    python models/training/pulse.py

A minute on one core. Only the first 1,200 samples are read in training; the rest of the record, with its one
anomaly, is the test. The same machine and torch version give the same weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import millstream_models.pulse
from millstream.datasets import internal_bleeding
from millstream_models.pulse import AHEAD, SurpriseMeter, pulse

WEIGHTS = Path(millstream_models.pulse.__file__).with_name("internal_bleeding.safetensors")
STEPS, BATCH, LENGTH, LEARNING_RATE = 400, 8, 300, 5e-3


def main() -> None:
    model = train(torch.tensor(internal_bleeding.train().frames[0]))
    print(report(model))
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, WEIGHTS)
    print(f"wrote {WEIGHTS}, {WEIGHTS.stat().st_size:,} bytes")


def train(record: torch.Tensor) -> SurpriseMeter:
    """A meter trained on samples (T, 1), in evaluation mode."""
    torch.manual_seed(0)
    model = pulse().train()
    model.normalize.load_state_dict({"mean": record.mean(0), "scale": 1 / record.std(0)})
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS)
    for _ in range(STEPS):
        starts = torch.randint(len(record) - LENGTH, (BATCH,)).tolist()
        x = torch.stack([record[start : start + LENGTH] for start in starts])
        # Pulses differ in height and level; noise keeps the forecast from leaning on single samples.
        x = x * torch.exp(0.05 * torch.randn(BATCH, 1, 1)) + 2 * torch.randn(BATCH, 1, 1)
        loss = model(x + 0.2 * torch.randn_like(x))[:, 2 * AHEAD :].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def report(model: SurpriseMeter) -> str:
    """Where the test part of the record surprises most, and how that stands out."""
    samples, wrong = internal_bleeding.record()
    surprise = model(torch.tensor(samples)[None])[0, :, 0].numpy()
    surprise[: internal_bleeding.TRAINING] = 0
    first, last = np.flatnonzero(wrong)[[0, -1]]
    near = np.abs(np.arange(len(surprise)) - (first + last) / 2) < 50
    elsewhere = surprise[internal_bleeding.TRAINING :][~near[internal_bleeding.TRAINING :]]
    return (
        f"most surprising: sample {int(surprise.argmax())}, {surprise.max():.2f} standard deviations\n"
        f"wrong are {first} to {last}; farther than 50 samples from them: at most {elsewhere.max():.2f}, "
        f"{np.median(elsewhere):.3f} in the middle"
    )


if __name__ == "__main__":
    main()
