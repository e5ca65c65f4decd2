"""Train a model on JapaneseVowels, the causal LMUFormer unless told, and write its weights beside it.

    python models/training/japanese_vowels.py                      # train, report, write
    python models/training/japanese_vowels.py --cross-validate     # judge the recipe
    python models/training/japanese_vowels.py --spiking            # the same for the model that spikes
    python models/training/japanese_vowels.py --leaky              # the same for leaky integrators

A minute on one core or less, three with spikes; five times that for cross-validation, which reads the
training split only. The same machine and torch version give the same weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import parametrize

import millstream_models
from millstream.datasets import japanese_vowels
from millstream.quantize.aware import PowerOfTwoWeight, settled
from millstream.sequences import Sequences
from millstream_models.leaky import LeakyNetwork, leaky_jv
from millstream_models.lmuformer import CausalLMUFormer
from millstream_models.lmuformer.factories import JAPANESE_VOWELS
from millstream_models.spiking_lmuformer import SpikingLMUFormer
from millstream_models.spiking_lmuformer.model import JAPANESE_VOWELS as SPIKING

FOLDER, FILE = Path(millstream_models.__file__).parent, "japanese_vowels.safetensors"
FOLDS = 5

Model = CausalLMUFormer | SpikingLMUFormer | LeakyNetwork


@dataclass(frozen=True)
class Recipe:
    """How to train. `make` gives the untrained model, `weights` is where it goes. `noise` (every frame) and
    `offset` (once per utterance) are in standard deviations of the input channels; `mixup` is the parameter
    of the Beta distribution of shares. With `weight_bits` the last two thirds train with weights of so many
    bits, as fixed point has them, and channels are normalized by powers of two, which cost no logic."""

    make: Callable[[], Model]
    weights: Path
    seed: int = 0
    epochs: int = 100
    batch: int = 32
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    noise: float = 0.2
    offset: float = 0.2
    mixup: float = 0.4
    weight_bits: int | None = None


LMUFORMER = Recipe(lambda: CausalLMUFormer(JAPANESE_VOWELS), FOLDER / "lmuformer" / FILE)
SPIKES = Recipe(lambda: SpikingLMUFormer(**SPIKING), FOLDER / "spiking_lmuformer" / FILE)

LEAKY = Recipe(
    leaky_jv, FOLDER / "leaky" / FILE, epochs=150, learning_rate=8e-3, weight_decay=0.01, weight_bits=4
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a model on JapaneseVowels.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--spiking", action="store_true", help="the LMUFormer that spikes")
    which.add_argument("--leaky", action="store_true", help="leaky integrators")
    parser.add_argument("--cross-validate", action="store_true", help="five folds of the training split")
    arguments = parser.parse_args()
    recipe = SPIKES if arguments.spiking else LEAKY if arguments.leaky else LMUFORMER
    if arguments.cross_validate:
        cross_validate(recipe)
    else:
        train_and_write(recipe)


def train_and_write(recipe: Recipe) -> None:
    """Train on the whole training split, report the test split, write the checkpoint."""
    model = train(japanese_vowels.train(), recipe)
    split = japanese_vowels.test()
    parallel, streamed = predict(model, split.frames), predict_streaming(model, split.frames)
    print(f"test accuracy {_share(parallel, split.labels)}, streamed {_share(streamed, split.labels)}")
    print(f"sequence and step form agree on {(parallel == streamed).sum()} of {len(parallel)} predictions")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, recipe.weights)
    print(f"wrote {recipe.weights}, {recipe.weights.stat().st_size:,} bytes")


def cross_validate(recipe: Recipe) -> None:
    """Accuracy on held-out fifths of the training split; the test split is not read."""
    split = japanese_vowels.train()
    right = 0
    for fold in range(FOLDS):
        # Utterances are sorted by speaker, so every fifth one leaves each fold all nine speakers.
        held_out = np.arange(len(split.labels)) % FOLDS == fold
        model = train(_select(split, ~held_out), recipe)
        part = _select(split, held_out)
        right_here = predict(model, part.frames) == part.labels
        print(f"fold {fold}: {right_here.sum()} of {len(right_here)}")
        right += right_here.sum()
    print(f"together: {right} of {len(split.labels)}, {right / len(split.labels):.2%}")


def train(split: Sequences, recipe: Recipe) -> Model:
    """A model trained on `split`, in evaluation mode."""
    torch.manual_seed(recipe.seed)
    frames = torch.from_numpy(np.concatenate(split.frames))
    deviation = frames.std(dim=0)
    model = recipe.make()
    scale = 1 / deviation if recipe.weight_bits is None else torch.exp2(torch.round(-torch.log2(deviation)))
    model.normalize.load_state_dict({"mean": frames.mean(dim=0), "scale": scale})
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    updates = recipe.epochs * -(-len(split.labels) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, updates)
    for epoch in range(recipe.epochs):
        if recipe.weight_bits and epoch == recipe.epochs // 3:
            _narrow(model, recipe.weight_bits)
        for clean, labels in _batches(split, recipe):
            optimizer.zero_grad()
            _mixup_loss(model, _disturbed(clean, deviation, recipe), labels, recipe).backward()
            optimizer.step()
            schedule.step()
    return settled(model).eval()


def _narrow(model: Model, bits: int) -> None:
    """Let every linear layer compute with weights of so many bits from now on."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            parametrize.register_parametrization(layer, "weight", PowerOfTwoWeight(bits))


def _batches(split: Sequences, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in batches of similar length, each utterance cut at random to the shortest of its batch.

    No frame of padding comes in, which would otherwise count in the statistics of the norms.
    """
    lengths = torch.tensor([len(s) for s in split.frames], dtype=torch.float32)
    order = torch.argsort(lengths + 3 * torch.randn(len(lengths)))
    groups = order.split(recipe.batch)
    for index in torch.randperm(len(groups)).tolist():
        group = groups[index].tolist()
        length = min(len(split.frames[i]) for i in group)
        frames = torch.stack([_cut(split.frames[i], length) for i in group])
        yield frames, torch.from_numpy(split.labels[group])


def _cut(sequence: np.ndarray, length: int) -> Tensor:
    start = int(torch.randint(len(sequence) - length + 1, ()))
    return torch.tensor(sequence[start : start + length])


def _disturbed(frames: Tensor, deviation: Tensor, recipe: Recipe) -> Tensor:
    """Noise on every frame, and one offset per utterance and channel, as another microphone would add."""
    noise = recipe.noise * torch.randn_like(frames) + recipe.offset * torch.randn_like(frames[:, :1])
    return frames + deviation * noise


def _mixup_loss(model: Model, frames: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    share = torch.distributions.Beta(recipe.mixup, recipe.mixup).sample()
    other = torch.randperm(len(labels))
    logits = model(share * frames + (1 - share) * frames[other])
    return share * _loss(logits, labels) + (1 - share) * _loss(logits, labels[other])


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy at the last frame, which is what counts, plus its mean over all frames."""
    last = functional.cross_entropy(logits[:, -1], labels)
    every = functional.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1]))
    return last + every


@torch.no_grad()
def predict(model: Model, sequences: tuple[np.ndarray, ...]) -> np.ndarray:
    """The class at the last frame of each sequence, by the sequence form."""
    return np.array([int(model(torch.tensor(s).unsqueeze(0))[0, -1].argmax()) for s in sequences])


@torch.no_grad()
def predict_streaming(model: Model, sequences: tuple[np.ndarray, ...]) -> np.ndarray:
    """The class at the last frame of each sequence, one frame at a time."""
    classes = []
    for sequence in sequences:
        state = model.initial_state(1)
        for frame in torch.tensor(sequence):
            logits, state = model.step(frame.unsqueeze(0), state)
        classes.append(int(logits.argmax()))
    return np.array(classes)


def _select(split: Sequences, keep: np.ndarray) -> Sequences:
    chosen = np.flatnonzero(keep)
    return Sequences(tuple(split.frames[i] for i in chosen), split.labels[chosen])


def _share(predicted: np.ndarray, labels: np.ndarray) -> str:
    right = int((predicted == labels).sum())
    return f"{right} of {len(labels)}, {right / len(labels):.2%}"


if __name__ == "__main__":
    main()
