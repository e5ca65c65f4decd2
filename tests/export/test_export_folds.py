"""An export folds by default, says what it did, climbs its ladder after it, and can be told not to."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from fold_models import CausalNet, RepBlock, make, noise, warmed
from recurrent_models import ConstantQuery

import millstream
import millstream_runtime
from millstream.quantize import format_named
from millstream_models.foldable import FoldableStream, StreamingConfig

#: Backends sum in float32 in another order than torch; values are of order 1.
_CLOSE = 2e-5


def test_a_model_with_batch_norms_is_folded_and_streams_as_torch_does(tmp_path: Path) -> None:
    module = warmed(make(CausalNet), noise(3, 17, 5))
    exported = millstream.export(module, noise(3, 17, 5), target="cpu")
    claims = [rung.claim for rung in exported.ladder.rungs]
    assert claims[1] == "step form (torch) = reparameterized (torch)"
    done = exported.contents.report["reparameterization"]["module"]
    assert [each["rewrite"] for each in done["applied"]] == ["batch norm", "batch norm", "layer norm"]
    assert all(each["error"] < 1e-5 for each in done["applied"])
    assert done["after"]["macs"] < done["before"]["macs"]
    exported.save(tmp_path / "net.mill")
    assert b"BatchNormalization" not in (tmp_path / "net.mill").read_bytes()
    x = noise(1, 9, 5)
    with torch.no_grad():
        want = copy.deepcopy(module).eval()(x)[0].numpy()
    for backend in ("tvm", "onnxruntime"):
        with millstream_runtime.load(tmp_path / "net.mill", backend=backend).stream() as stream:
            got = np.stack(stream.push(x[0].numpy()))
        np.testing.assert_allclose(got, want, atol=_CLOSE, rtol=_CLOSE, err_msg=backend)


def test_a_step_is_rewritten_after_its_trace() -> None:
    exported = millstream.export(make(ConstantQuery), noise(2, 13, 16), target="onnxruntime")
    assert "step.onnx = reparameterized step.onnx" in [rung.claim for rung in exported.ladder.rungs]
    (applied,) = exported.contents.report["reparameterization"]["step"]["applied"]
    assert applied["rewrite"] == "linear region"


def test_an_export_can_be_told_not_to_fold() -> None:
    module = warmed(make(CausalNet), noise(3, 17, 5))
    exported = millstream.export(module, noise(3, 17, 5), target="onnxruntime", reparameterize=False)
    assert not any("reparameterized" in rung.claim for rung in exported.ladder.rungs)
    assert "reparameterization" not in exported.contents.report


def test_branches_of_a_stateless_model_fold_before_quantization() -> None:
    module = warmed(make(RepBlock, 32), noise(6, 32, 8, 8))
    exported = millstream.export(
        module, noise(6, 32, 8, 8), target="onnxruntime", format=format_named("w8a8-static")
    )
    assert len(exported.contents.report["quantization"]["quantized"]) == 1


@pytest.mark.parametrize("updates", [4, 400])
def test_a_progressive_norm_folds_only_after_its_training(updates: int) -> None:
    config = StreamingConfig(inputs=5, classes=3, width=12, heads=3, blocks=1, updates=updates)
    module = warmed(make(FoldableStream, config), noise(4, 11, 5), passes=6)
    exported = millstream.export(module, noise(2, 15, 5), target="onnxruntime")
    left = exported.contents.report["reparameterization"]["module"]["left_alone"]
    refused = [each["where"] for each in left if "lambda is" in each["why"]]
    assert refused == ([] if updates == 4 else ["blocks.0.norm", "norm"])


def test_the_same_model_folds_to_the_same_bytes() -> None:
    module = warmed(make(CausalNet), noise(3, 17, 5))
    one, two = (millstream.export(module, noise(3, 9, 5), target="onnxruntime") for _ in range(2))
    assert one.contents.step == two.contents.step
    assert one.contents.report == two.contents.report
