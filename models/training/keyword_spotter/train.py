"""Train the keyword spotter on synthesized speech, and write its weights beside the model.

    apt install espeak-ng flite festival festvox-kdlpc16k festvox-us-slt-hts
    python models/training/keyword_spotter/train.py                 # all voices; writes the weights
    python models/training/keyword_spotter/train.py --validate      # some voices held out; writes nothing

Both take about a quarter of an hour on one core, two minutes of it for the speech. `--validate` is what the
recipe was chosen by: it reads voices that were kept from training, and no recording.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from scenes import HOP, OPEN, Scenes
from synthesis import KEYWORDS, OTHERS, RATE, Utterance, speak
from torch import Tensor
from torch.nn import functional

import millstream_models.keyword_spotter
from millstream_models.keyword_spotter import KeywordSpotter, keyword_spotter

WEIGHTS = Path(millstream_models.keyword_spotter.__file__).with_name("spoken_digits.safetensors")
STEPS, BATCH, LEARNING_RATE = 2500, 32, 6e-3
#: Voices of `--validate`: one of each synthesizer's families that nothing else sounds like.
KEPT = ("awb", "ked_diphone", "en-gb-scotland", "+f4", "+klatt2", "+Andrea", "+m7")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--validate", action="store_true", help="hold voices out, read them, write nothing")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    utterances = spoken()
    kept = [u for u in utterances if any(part in u.voice.name for part in KEPT)]
    if options.validate:
        held = {id(u) for u in kept}
        utterances = [u for u in utterances if id(u) not in held]
    model = train(utterances, options.steps)
    print(report(model, kept))
    if not options.validate:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, WEIGHTS)
        print(f"wrote {WEIGHTS}, {WEIGHTS.stat().st_size:,} bytes")


def spoken() -> list[Utterance]:
    """Digits in many voices, other words in fewer."""
    random = np.random.default_rng(0)
    return [*speak(KEYWORDS, random, 150), *speak(OTHERS, random, 12)]


def train(utterances: list[Utterance], steps: int) -> KeywordSpotter:
    """AdamW at a rate that rises and falls once; every scene is new."""
    torch.manual_seed(0)
    scenes = Scenes(utterances, np.random.default_rng(0))
    model = keyword_spotter().train()
    _set_input_norm(model, scenes)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps, pct_start=0.15)
    begin = time.monotonic()
    for step in range(steps):
        x, targets = _batch(scenes, BATCH)
        loss = functional.cross_entropy(model(x).flatten(0, 1), targets.flatten(), ignore_index=OPEN)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss:.3f}, {time.monotonic() - begin:.0f} s", flush=True)
    return model.eval()


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
