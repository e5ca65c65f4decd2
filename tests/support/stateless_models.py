"""Models without time, small: what vision and tabular models are made of. Tests seed the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


def _mlp(width: int, factor: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(width, factor * width), nn.GELU(), nn.Linear(factor * width, width))


class Encoder(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention, self.mlp = Attention(width, heads), _mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.mlp(self.norms[1](x))


class VisionTransformer(nn.Module):
    """Patches, a class token, learned positions, two blocks."""

    frame = (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 17, 16))
        self.blocks = nn.Sequential(Encoder(16, 2), Encoder(16, 2))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.positions
        return self.head(self.blocks(x)[:, 0])


class Swin(nn.Module):
    """Attention in windows of 4 by 4, then in shifted windows, with a relative bias; patches merged after."""

    frame = (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 2, 2)
        self.norm, self.attention = nn.LayerNorm(16), Attention(16, 2)
        self.merge, self.head = nn.Linear(64, 24), nn.Linear(24, 5)

    def _windows(self, x: Tensor, shift: int) -> Tensor:
        moved = torch.roll(x, (-shift, -shift), (1, 2))
        tiles = moved.unflatten(2, (2, 4)).unflatten(1, (2, 4)).permute(0, 1, 3, 2, 4, 5)
        mixed = self.attention(self.norm(tiles.reshape(-1, 16, 16)))
        mixed = mixed.reshape(-1, 2, 2, 4, 4, 16).permute(0, 1, 3, 2, 4, 5).reshape(-1, 8, 8, 16)
        return x + torch.roll(mixed, (shift, shift), (1, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        x = self._windows(self._windows(x, 0), 2)
        parts = [x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        return self.head(self.merge(torch.cat(parts, -1)).mean((1, 2)))


class ConvNeXt(nn.Module):
    """Depthwise convolution, LayerNorm over channels, an inverted bottleneck with layer scale."""

    frame = (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 12, 4, 4), nn.Conv2d(12, 12, 7, padding=3, groups=12)
        self.norm, self.mlp = nn.LayerNorm(12), _mlp(12, 4)
        self.scale, self.head = nn.Parameter(torch.full((12,), 0.1)), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1))) * self.scale
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))


class PoolFormer(nn.Module):
    """Pooling in place of attention."""

    frame = (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 7, 4, 2), nn.GroupNorm(1, 12)
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.mlp = nn.Sequential(nn.Conv2d(12, 24, 1), nn.GELU(), nn.Conv2d(24, 12, 1))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        normed = self.norm(x)
        x = x + self.pool(normed) - normed
        return self.head((x + self.mlp(self.norm(x))).mean((2, 3)))


class GatedMlp(nn.Module):
    """gMLP: a projection over the tokens gates half of the channels."""

    frame = (12, 8)

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(16)])
        self.into, self.out = nn.Linear(8, 32), nn.Linear(16, 8)
        self.spatial = nn.Conv1d(12, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, gate = functional.gelu(self.into(self.norms[0](x))).chunk(2, -1)
        return x + self.out(kept * self.spatial(self.norms[1](gate)))


class InvertedTransformer(nn.Module):
    """iTransformer: each series of a window is a token; the window normalised and given back its scale."""

    frame = (24, 5)

    def __init__(self) -> None:
        super().__init__()
        self.into, self.block, self.out = nn.Linear(24, 16), Encoder(16, 2), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        scale = (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        y = self.out(self.block(self.into(((x - mean) / scale).transpose(1, 2))))
        return y.transpose(1, 2) * scale + mean


class DiffusionBlock(nn.Module):
    """A DiT block: shift, scale and gate from the first token, which stands for time and class."""

    frame = (10, 16)

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(16, 96))
        self.attention, self.mlp = Attention(16, 2), _mlp(16)

    def forward(self, x: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(x[:, :1]).chunk(6, -1)
        x = x + gate * self.attention(self.norm(x) * (1 + scale) + shift)
        return x + gate2 * self.mlp(self.norm(x) * (1 + scale2) + shift2)


class ResNet(nn.Module):
    """A stem, a basic block and a block that halves the image."""

    frame = (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.first, self.second = self._block(8, 8, 1), self._block(8, 12, 2)
        self.short = nn.Sequential(nn.Conv2d(8, 12, 1, 2, bias=False), nn.BatchNorm2d(12))
        self.head = nn.Linear(12, 5)

    @staticmethod
    def _block(width: int, out: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(width, out, 3, stride, 1, bias=False),
            *(nn.BatchNorm2d(out), nn.ReLU()),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        x = functional.relu(x + self.first(x))
        x = functional.relu(self.short(x) + self.second(x))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


STATELESS = (
    VisionTransformer,
    Swin,
    ConvNeXt,
    PoolFormer,
    GatedMlp,
    InvertedTransformer,
    DiffusionBlock,
    ResNet,
)
