"""Models without time go the same way as streaming ones: one input, one output, the same ladder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small_models import seeded
from stateless_models import STATELESS, ResNet
from torch import nn

import millstream
import millstream_runtime
from millstream import targets
from millstream.graph import StepGraph

#: torch sums in float32 in another order than the backends; values are of order 1.
_BOUND = 2e-5


def _exported(make: type[nn.Module], target: str, path: Path) -> millstream.Exported:
    """Export for a target, and hold the bundle against torch."""
    module = seeded(make).eval()
    x = torch.randn(4, *make.frame, generator=torch.Generator().manual_seed(1))
    exported = millstream.export(module, x, target=target)
    assert not exported.contents.model.states
    exported.save(path)
    with torch.no_grad():
        want = module(x).numpy()
    model = millstream_runtime.load(path)
    assert model.target.name == target
    got = [model.stream().step(frame).copy() for frame in x.numpy()]
    np.testing.assert_allclose(np.stack(got), want, atol=_BOUND, rtol=_BOUND)
    return exported


@pytest.mark.parametrize("make", STATELESS, ids=lambda make: make.__name__)
def test_a_stateless_model_goes_through_the_ladder_and_the_fused_path_covers_it(
    make: type[nn.Module], tmp_path: Path
) -> None:
    exported = _exported(make, "onnxruntime", tmp_path / "model.mill")
    graph, cpu = StepGraph(onnx.load_from_string(exported.contents.step)), targets.target("cpu")
    assert not targets.compile_half(cpu).gaps(graph, cpu)


def test_a_stateless_model_is_one_fused_step_on_this_cpu(tmp_path: Path) -> None:
    _exported(ResNet, "cpu", tmp_path / "model.mill")
