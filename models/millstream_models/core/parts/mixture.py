"""A mixture of feed-forward experts, of which every frame uses a few."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class MixtureOfExperts(nn.Module):
    """The `used` experts that the router scores highest, weighted by the softmax of their scores.

    Weights of the chosen experts are gathered, so that a compiled step reads those alone.
    Source: Shazeer et al., "Outrageously Large Neural Networks" (ICLR 2017).
    """

    def __init__(self, width: int, hidden: int, experts: int, used: int = 2) -> None:
        super().__init__()
        self.used = used
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, hidden, width) * width**-0.5)
        self.down = nn.Parameter(torch.randn(experts, width, hidden) * hidden**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        scores, chosen = torch.topk(self.router(x), self.used, -1)
        shares = torch.softmax(scores, -1)
        parts = []
        for rank in range(self.used):
            expert = chosen[..., rank]
            hidden = functional.silu(torch.matmul(self.up[expert], x.unsqueeze(-1)))
            parts.append(torch.matmul(self.down[expert], hidden).squeeze(-1) * shares[..., rank : rank + 1])
        return torch.stack(parts).sum(0)
