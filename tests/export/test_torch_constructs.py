"""What torch's exporter writes for the usual parts of sequence models: lowered, and proved on a backend."""

from __future__ import annotations

import functools
from collections.abc import Callable

import onnx
import pytest
import torch
from small_models import frames, seeded
from torch import Tensor, nn
from torch_constructs import FAMILIES, Construct, Family, RingAttention

import millstream
from millstream.exporting import Exported
from millstream.graph import origin
from millstream.lower import gaps
from millstream.protocol import streamable
from millstream.trace import trace


@functools.cache
def _exported(make: Callable[[], dict[str, Construct]]) -> Exported:
    module = seeded(lambda: Family(make())).eval()  # type: ignore[arg-type]
    return millstream.export(module, frames(Family, 5), target="numba")


@pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)
def test_every_construct_of_a_family_climbs_the_ladder(make: Callable[[], dict[str, Construct]]) -> None:
    exported = _exported(make)
    assert exported.ladder.passed
    assert len(exported.contents.model.outputs) == len(make())


@pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)
def test_every_node_says_which_submodule_it_comes_from(make: Callable[[], dict[str, Construct]]) -> None:
    nodes = onnx.load_from_string(_exported(make).contents.step).graph.node
    assert {origin(node).split(".")[0] for node in nodes} == {"constructs"}


def test_attention_over_a_ring_streams_on_every_backend() -> None:
    exported = millstream.export(
        seeded(RingAttention), frames(RingAttention, 2, 13), target=("cpu", "numba", "c")
    )
    assert exported.ladder.passed


def test_the_logarithm_of_a_tiny_sigmoid_is_exact_on_every_backend() -> None:
    """A decay of GLA is such a logarithm, and trained ones go below -20, where a float32 sigmoid rounds."""
    module = Construct((5,), nn.functional.logsigmoid)
    x = torch.tensor([[-90.0, -25.0, -18.5, 0.0, 30.0]])
    exported = millstream.export(module, x, target=("cpu", "numba", "c"))
    assert exported.ladder.passed


class _Outside(nn.Module):
    """Parts that are not lowered, each in a submodule."""

    frame = (24,)

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = Construct((24,), lambda x: torch.fft.rfft(x).abs())
        self.stretched = Construct((4, 6), lambda x: nn.functional.interpolate(x, scale_factor=2))
        self.halved = Construct((24,), lambda x: (x.half() * 2).float())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.spectrum(x), self.stretched(x), self.halved(x)


def test_what_is_not_lowered_is_named_with_its_submodule_and_a_remedy() -> None:
    frame = frames(_Outside, 1)
    found = gaps(trace(streamable(_Outside(), frame), frame).graph)
    assert {gap.origin: gap.operator for gap in found if gap.help} == {
        "spectrum": "DFT",
        "stretched": "Resize",
        "halved": "Mul",
    }
