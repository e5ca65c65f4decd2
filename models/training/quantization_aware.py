"""Train the causal LMUFormer on with rounding, for 4 bits and for ternary weights, and report what it gains.

    python models/training/quantization_aware.py

Begins with the trained weights; two minutes on one core. Accuracy is that of the exported step on the test
split of JapaneseVowels, before and after. Norms keep their statistics, and nothing is folded into the rounded
weights.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from torch import Tensor, nn

import millstream
from millstream import reference
from millstream.datasets import japanese_vowels
from millstream.graph import StepGraph
from millstream.loading import load
from millstream.prove_quantized import labelled_outputs
from millstream.quantize import FORMATS, quantize
from millstream.quantize.aware import INT4_INT8, TERNARY, aware, settled
from millstream.quantize.calibration import Calibration, spread
from millstream.sequences import Sequences
from millstream_runtime.core import Core

#: By format, what is rounded, and how much the outputs of the float model count beside the labels: a model of
#: 4 bits can follow them, a ternary one is better left to find its own.
RECIPES = {"w4a8": (INT4_INT8, 1.0), "ternary": (TERNARY, 0.0)}
EPOCHS, BATCH, LEARNING_RATE = 40, 30, 2e-3


def main() -> None:
    """Print one line for each recipe."""
    float_model = load("lmuformer_jv").module.eval()
    print(f"float: {accuracy(float_model, None):.2%}")
    for name, (training, share) in RECIPES.items():
        tuned = settled(train_on(aware(float_model, training), float_model, share))
        print(f"{name}: rounded {accuracy(float_model, name):.2%}, trained on {accuracy(tuned, name):.2%}")


def train_on(model: nn.Module, teacher: nn.Module, share: float, epochs: int = EPOCHS) -> nn.Module:
    """Cross entropy of the last output, and `share` times the squares between all outputs and the teacher's,
    on utterances cut at random to the shortest of their batch."""
    torch.manual_seed(0)
    split = japanese_vowels.train()
    updates = epochs * -(-len(split.labels) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, updates)
    for _ in range(epochs):
        for places in torch.randperm(len(split.labels)).split(BATCH):
            optimizer.zero_grad()
            x, y = _batch(split, places.tolist())
            with torch.no_grad():
                wanted = teacher(x)
            found = model(x)
            apart = nn.functional.mse_loss(found, wanted)
            (nn.functional.cross_entropy(found[:, -1], y) + share * apart).backward()
            optimizer.step()
            schedule.step()
    return model


def _batch(split: Sequences, places: list[int]) -> tuple[Tensor, Tensor]:
    length = min(len(split.frames[place]) for place in places)
    starts = [int(torch.randint(len(split.frames[place]) - length + 1, ())) for place in places]
    cut = [split.frames[p][start : start + length] for p, start in zip(places, starts, strict=True)]
    return torch.from_numpy(np.stack(cut)), torch.from_numpy(split.labels[places])


def accuracy(model: nn.Module, format: str | None) -> float:
    """Of the exported step, quantized where a format is named, on the test split."""
    example, test = japanese_vowels.train(), japanese_vowels.test()
    made = millstream.export(model, example, "onnxruntime", reparameterize=False).contents
    graph = StepGraph(onnx.load_from_string(made.step))
    initial = tuple(
        made.initial.get(state.name, np.full(state.shape, state.fill or 0, state.dtype))
        for state in made.model.states
    )
    if format:
        graph = quantize(graph, FORMATS[format], Calibration(spread(example.frames), initial)).graph
    core = Core(made.model, reference.open(graph.model, made.model), initial, "")
    return float((labelled_outputs(core, test).argmax(1) == test.labels).mean())


if __name__ == "__main__":
    main()
