"""The small streaming models and LMUFormer, lowered, with random frames and states of theirs."""

from __future__ import annotations

import functools

import numpy as np
from small_models import STREAMING, ConvNet, frames, seeded
from torch import nn

import millstream_models.lmuformer as lmuformer
from millstream.graph import StepGraph
from millstream.lower import Lowered, lower
from millstream.protocol import streamable
from millstream.trace import trace
from millstream_runtime.program import Buffer


def lmuformer_jv() -> nn.Module:
    return lmuformer.lmuformer_jv()


MODELS = (*STREAMING, ConvNet, lmuformer_jv)


@functools.cache
def graph_of(make: type[nn.Module]) -> StepGraph:
    """The step graph of a model, traced with seeded weights."""
    if make is lmuformer_jv:
        module, frame = make(), frames(ConvNet, 12)[:, 0, 0, :12][:1]
    else:
        module, frame = seeded(make), frames(make, 1)
    return trace(streamable(module, frame), frame).graph


@functools.cache
def lowered_model(make: type[nn.Module]) -> Lowered:
    """The fused program of a model."""
    return lower(graph_of(make))


def random_arrays(buffers: tuple[Buffer, ...], rows: int, seed: int) -> list[np.ndarray]:
    """One array (rows, size) per buffer: normal floats, and small whole numbers for the other dtypes."""
    generator = np.random.default_rng(seed)
    return [
        generator.standard_normal((rows, b.size)).astype(b.dtype)
        if b.dtype.startswith("float")
        else generator.integers(0, 2, (rows, b.size)).astype(b.dtype)
        for b in buffers
    ]
