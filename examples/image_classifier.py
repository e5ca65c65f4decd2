"""A model without time: one image in, one answer out, by the same export.

    python examples/image_classifier.py image_classifier.mill

The same on the command line, for this CPU:

    millstream export examples/image_classifier.py:Classifier --example noise:3x32x32
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """ConvNeXt in small: patches, a depthwise convolution, an inverted bottleneck."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.bottleneck = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, 32, 32) to scores (B, 10)."""
        x = self.stem(x)
        inner = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return self.head((x.permute(0, 2, 3, 1) + self.bottleneck(inner)).mean((1, 2)))


def main(path: str, target: str = "onnxruntime") -> None:
    """Prove, save, and run one image."""
    import millstream
    import millstream_runtime as ms

    torch.manual_seed(0)
    module, images = Classifier().eval(), torch.randn(3, 3, 32, 32)
    millstream.export(module, images, target).save(path)
    scores = ms.load(path).stream().step(images[0].numpy())
    with torch.no_grad():
        want = module(images[:1])[0].numpy()
    print("largest difference from the module:", np.abs(scores - want).max())


if __name__ == "__main__":
    main(*sys.argv[1:])
