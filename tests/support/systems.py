"""The systems of the catalogue as the tests take them: in float64, every parameter moved off its default."""

from __future__ import annotations

import copy
import functools
import importlib
import math

import torch
from torch import Tensor, nn

from millstream_models import SYSTEMS, ReferenceModel
from millstream_models.adaptive_depth.model import EarlyExit, SkippedLayers
from millstream_models.core.naive import linear, rms_norm
from millstream_models.core.shell import Block, Mixer, StreamModel

NAMES = tuple(entry.name for entry in SYSTEMS)


HYBRIDS = ("jamba", "delta_hybrid")


def entry(name: str) -> ReferenceModel:
    """A system's catalogue entry."""
    return next(found for found in SYSTEMS if found.name == name)


def untrained(name: str) -> Mixer:
    """The module as the catalogue gives it, float32."""
    module, _, function = entry(name).factory.partition(":")
    return getattr(importlib.import_module(module), function)()


@functools.cache
def moved(name: str) -> Mixer:
    """In float64, every parameter a little off, so that no term is hidden by a one, a zero or an identity."""
    model = untrained(name).double()
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if parameter.requires_grad:
            parameter.data.add_(noise, alpha=0.1)
        parameter.requires_grad_(False)
    return model


def frames(length: int, batch: int = 2, seed: int = 0) -> Tensor:
    """Seeded frames (batch, length, 12), float64."""
    generator = torch.Generator().manual_seed(1000 * seed + length)
    return torch.randn(batch, length, 12, generator=generator, dtype=torch.float64)


def stepped(model: Mixer, x: Tensor, state: dict[str, Tensor] | None = None) -> tuple[Tensor, dict]:
    """All frames one by one: the outputs (B, T, ...) and the last state."""
    state = model.initial_state(x.shape[0]) if state is None else state
    outputs = []
    for frame in x.unbind(1):
        y, state = model.step(frame, state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def naive_model(model: Mixer, x: Tensor) -> Tensor:
    """One sequence (T, inputs) -> (T, outputs), every mixer by its naive definition."""
    if not isinstance(model, StreamModel):
        return naive_of(model)(model, x)
    hidden = torch.stack([inlet(model, frame) for frame in x])
    for block in model.blocks:
        hidden = naive_block(block, hidden)
    return torch.stack([linear(model.head, rms_norm(model.norm, frame)) for frame in hidden])


def inlet(model: StreamModel, frame: Tensor) -> Tensor:
    """The inlet acts on frames alone: where it is more than a linear layer, its own code is its
    definition.
    """
    return linear(model.inlet, frame) if isinstance(model.inlet, nn.Linear) else model.inlet(frame)


def naive_block(block: Mixer, x: Tensor) -> Tensor:
    """The usual block by its definition; a block of a system's own by that system's."""
    if isinstance(block, (EarlyExit, SkippedLayers)):
        return naive_of(block)(block, x, naive_block)
    if not isinstance(block, Block):
        return naive_of(block)(block, x)
    y = x + naive_of(block.mixer)(block.mixer, rms_norm(block.mixer_norm, x))
    if block.feed_forward is None:
        return y
    # It acts on frames alone: its own code is its definition.
    return y + block.feed_forward(rms_norm(block.feed_forward_norm, y))


def naive_of(mixer: Mixer):
    """The function `naive` of the folder that the mixer stands in."""
    return importlib.import_module(f"{type(mixer).__module__.rpartition('.')[0]}.naive").naive


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in units of the largest value; infinite where something is no number."""
    difference = (found.double() - expected.double()).abs().max() / (1 + expected.abs().max())
    return math.inf if torch.isnan(difference) else float(difference)


@functools.cache
def one_block(name: str) -> Mixer:
    """The first block alone, of a hybrid the last two, float32, parameters moved: what the tests of step
    graphs trace, to save time.
    """
    model = copy.deepcopy(moved(name)).float()
    if isinstance(model, StreamModel):
        # A hybrid's last two blocks are one of each kind.
        model.blocks = model.blocks[-2:] if name in HYBRIDS else model.blocks[:1]  # type: ignore[assignment]
    return model
