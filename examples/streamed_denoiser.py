"""An ordinary module made to step: a denoiser that was written for whole sequences and knows nothing of us.

    python examples/streamed_denoiser.py streamed_denoiser.mill

The same on the command line:

    millstream check  examples/streamed_denoiser.py:Denoiser --streamify --time-axis 2 --example noise:40x64
    millstream export examples/streamed_denoiser.py:Denoiser --streamify --time-axis 2 --example noise:40x64
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor, nn

BANDS = 40


class Denoiser(nn.Module):
    """Gains for 40 bands: a convolution that looks two frames ahead, a GRU, and a residual."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.near = nn.Conv1d(BANDS, width, 5, padding=2)
        self.norm = nn.BatchNorm1d(width)
        self.memory = nn.GRU(width, width, batch_first=True)
        self.gains = nn.Linear(width, BANDS)

    def forward(self, x: Tensor) -> Tensor:
        """Whole sequences (B, 40, T) to denoised ones of the same shape."""
        near = torch.relu(self.norm(self.near(x))).transpose(1, 2)
        return x * torch.sigmoid(self.gains(near + self.memory(near)[0])).transpose(1, 2)


def main(path: str, target: str = "onnxruntime") -> None:
    """Convert, prove, save, and stream the bundle in chunks of seven frames."""
    import millstream
    import millstream_runtime as ms

    torch.manual_seed(0)
    module, example = Denoiser().eval(), torch.randn(2, BANDS, 50)
    streamed = millstream.streamify(module, example, time_axis=2)
    print("made to step:", streamed.facts())
    millstream.export(streamed, millstream.frames_of(streamed, example, 2), target).save(path)

    frames = example[0].T.contiguous().numpy()
    with ms.load(path).stream() as stream:
        chunks = [y for start in range(0, 50, 7) for y in stream.push(frames[start : start + 7])]
        streamed_frames = np.stack([*chunks, *stream.flush()])
    with torch.no_grad():
        whole = module(example[:1])[0].T.numpy()
    print("largest difference from the module:", np.abs(streamed_frames - whole).max())


if __name__ == "__main__":
    main(*sys.argv[1:])
