"""Train the keyword spotter on synthesized speech, and write its weights beside the model.

    apt install espeak-ng flite festival festvox-kdlpc16k festvox-us-slt-hts
    python models/training/keyword_spotter/train.py

A quarter of an hour on one core, two minutes of it for the speech. Some voices of each synthesizer are kept
from training and read at the end; no recording of a person is read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from scenes import HOP, OPEN, Scenes
from synthesis import KEYWORDS, OTHERS, RATE, Utterance, Voice, speak
from torch import Tensor
from torch.nn import functional

import millstream_models.keyword_spotter
from millstream_models.keyword_spotter import KeywordSpotter, keyword_spotter

WEIGHTS = Path(millstream_models.keyword_spotter.__file__).with_name("spoken_digits.safetensors")
BATCH = 32


@dataclass(frozen=True)
class Cycle:
    """So many steps at a rate that rises and falls once, on scenes with such a share of digits."""

    steps: int
    learning_rate: float
    digits: float


#: Digits first; then more of what is none, of which too much was taken for a digit.
CYCLES = (Cycle(1200, 6e-3, 0.7), Cycle(800, 4e-3, 0.5))
#: Voices that training does not hear, of each synthesizer: parts of their names.
KEPT = ("awb", "ked_diphone", "en-gb-scotland", "+f4", "+klatt2", "+Andrea", "+m7")


def main() -> None:
    utterances = spoken()
    kept = [is_kept(utterance.voice) for utterance in utterances]
    model = train([u for u, keep in zip(utterances, kept, strict=True) if not keep])
    print(report(model, [u for u, keep in zip(utterances, kept, strict=True) if keep]))
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, WEIGHTS)
    print(f"wrote {WEIGHTS}, {WEIGHTS.stat().st_size:,} bytes")


def spoken() -> list[Utterance]:
    """Digits in many voices, other words in fewer."""
    random = np.random.default_rng(0)
    return [*speak(KEYWORDS, random, 150), *speak(OTHERS, random, 12)]


def is_kept(voice: Voice) -> bool:
    """Whether training does not hear the voice."""
    return any(part in voice.name for part in KEPT)


def train(utterances: list[Utterance]) -> KeywordSpotter:
    """All cycles; every scene is new."""
    torch.manual_seed(0)
    model = keyword_spotter().train()
    for number, cycle in enumerate(CYCLES):
        scenes = Scenes(utterances, cycle.digits, np.random.default_rng(number))
        if number == 0:
            _set_input_norm(model, scenes)
        run(model, scenes, cycle)
    return model.eval()


def run(model: KeywordSpotter, scenes: Scenes, cycle: Cycle) -> None:
    """One cycle of AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), cycle.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, cycle.learning_rate, cycle.steps, pct_start=0.15
    )
    begin = time.monotonic()
    for step in range(cycle.steps):
        x, targets = _batch(scenes, BATCH)
        loss = functional.cross_entropy(model(x).flatten(0, 1), targets.flatten(), ignore_index=OPEN)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss:.3f}, {time.monotonic() - begin:.0f} s", flush=True)


def _batch(scenes: Scenes, count: int) -> tuple[Tensor, Tensor]:
    """Samples (count, frames, 160) and targets (count, frames)."""
    drawn = [scenes.draw() for _ in range(count)]
    samples = torch.from_numpy(np.stack([scene.samples for scene in drawn]))
    return samples.unflatten(1, (-1, HOP)), torch.from_numpy(np.stack([scene.targets for scene in drawn]))


@torch.no_grad()
def _set_input_norm(model: KeywordSpotter, scenes: Scenes) -> None:
    x, _ = _batch(scenes, 64)
    energies = model.front(x).flatten(0, 1)
    model.normalize.load_state_dict({"mean": energies.mean(0), "scale": 1 / energies.std(0)})


@torch.no_grad()
def report(model: KeywordSpotter, utterances: list[Utterance]) -> str:
    """Share of digits named right, and of other words taken for digits, each word alone and undisturbed."""
    right, digits, false, others = 0, 0, 0, 0
    for utterance in utterances:
        scores = model(padded(utterance.samples))[0]
        if utterance.word in KEYWORDS:
            digits += 1
            right += int(scores[-1].argmax()) == KEYWORDS.index(utterance.word)
        else:
            others += 1
            false += bool((scores.argmax(-1) < len(KEYWORDS)).any())
    return f"kept voices: {right} of {digits} digits right, {false} of {others} other words taken for a digit"


def padded(samples: np.ndarray) -> Tensor:
    """A fifth of a second of near silence before, a tenth after: (1, frames, 160)."""
    quiet = 1e-4 * np.random.default_rng(0).standard_normal(len(samples) + 3 * RATE // 10)
    quiet[RATE // 5 : RATE // 5 + len(samples)] += samples
    count = len(quiet) // HOP
    return torch.from_numpy(quiet[: count * HOP].astype(np.float32)).view(1, count, HOP)


if __name__ == "__main__":
    main()
