"""One pass through the whole house in a few seconds: export, bundle, stream, on a model of `examples/`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import millstream
import millstream_runtime
from millstream import loading, sequences

ROOT = Path(__file__).parent.parent


@pytest.mark.smoke
def test_from_a_users_file_to_a_stream(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = loading.load(f"{ROOT / 'examples/denoiser.py'}:Denoiser").module
    frames = sequences.read("noise:33x40").frames[0]
    exported = millstream.export(module, frames[None], target=("cpu", "numba"))
    assert exported.ladder.passed
    exported.save(tmp_path / "denoiser.mill")
    with torch.no_grad():
        want = module(torch.tensor(frames)[None])[0].numpy()
    for backend in ("tvm", "numba", "onnxruntime"):
        model = millstream_runtime.load(tmp_path / "denoiser.mill", backend=backend)
        first, second = model.stream(), model.stream()
        got = first.push(frames[:20])
        second.load(first.save())
        got += second.push(frames[20:])
        # Values are of order 1; sums of 100 float32 products in another order than torch's.
        np.testing.assert_allclose(np.stack(got), want, atol=1e-5, err_msg=backend)
