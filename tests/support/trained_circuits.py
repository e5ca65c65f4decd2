"""Trained models of the catalogue in fixed point, calibrated on part of what they were trained on."""

from __future__ import annotations

import numpy as np
import torch

from millstream.datasets import japanese_vowels
from millstream.graph import StepGraph
from millstream.loading import load
from millstream.protocol import streamable
from millstream.quantize import FORMATS, quantize
from millstream.quantize.calibration import Calibration
from millstream.trace import trace
from millstream_hw import circuit, closed_loop
from millstream_hw.circuit import Circuit


def trained(name: str, format: str) -> tuple[StepGraph, Circuit]:
    """The graph of a model for JapaneseVowels in a format of fixed point, and its circuit."""
    frames = japanese_vowels.train().frames[::9]
    first = torch.tensor(frames[0][:1])
    source = streamable(load(name).module, first)
    initial = [value[0].numpy() for value in source.initial.values()]
    calibration = Calibration(frames, initial)
    graph = quantize(trace(source, first).graph, FORMATS[format], calibration).graph
    return graph, circuit.read(graph, initial)


def spoken(graph: StepGraph, found: Circuit, sequences: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test sequences as one stream with a reset before each: words, resets, and the reference's words."""
    frames = japanese_vowels.test().frames[:sequences]
    begins = np.cumsum([0, *(len(each) for each in frames[:-1])])
    words = closed_loop.quantized(found, [np.concatenate(frames)])
    resets = np.zeros(len(words), bool)
    resets[begins] = True
    return words, resets, closed_loop.golden(graph, found, closed_loop.Frames(words, resets))
