"""LMUFormer: a convolutional stem, blocks of Legendre memory, and a running mean of logits.

Source: Liu, Datta, Li and Beerel, "LMUFormer: Low Complexity Yet Powerful Spiking Model With Legendre
Memory Units" (ICLR 2024). The README beside this file tells the maths and the traps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.lmuformer.config import LMUFormerConfig
from millstream_models.lmuformer.norm import InputNorm
from millstream_models.lmuformer.stem import CausalStem, SymmetricStem
from millstream_models.lmuformer.trunk import Trunk


class _LMUFormer(nn.Module):
    """What both kinds share: the parts, the sequence form and the initial state."""

    def __init__(self, config: LMUFormerConfig, stem: CausalStem | SymmetricStem) -> None:
        super().__init__()
        self.config = config
        self.normalize = InputNorm(config.inputs) if config.normalize_input else nn.Identity()
        self.stem = stem
        self.trunk = Trunk(config)

    def forward(self, x: Tensor) -> Tensor:
        """A whole sequence, (B, T, inputs) -> (B, T, classes): mean logits up to each frame."""
        return self.trunk(self.stem(self.normalize(x)))

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """The state before the first frame: name -> tensor with leading dimension `batch`."""
        return {**self.stem.initial_state(batch), **self.trunk.initial_state(batch)}


class CausalLMUFormer(_LMUFormer):
    """LMUFormer with the causal stem: the output of a frame needs no later frame."""

    look_ahead = 0
    stem: CausalStem

    def __init__(self, config: LMUFormerConfig) -> None:
        super().__init__(config, CausalStem(config.inputs, config.width))

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """One frame, in evaluation mode: (B, inputs) -> (B, classes), and the next state."""
        features, stem = self.stem.step(self.normalize(x), state)
        y, trunk = self.trunk.step(features, state)
        return y, {**stem, **trunk}


class LMUFormer(_LMUFormer):
    """The paper's LMUFormer, with the symmetric stem: outputs come five frames late."""

    look_ahead = SymmetricStem.look_ahead
    stem: SymmetricStem

    def __init__(self, config: LMUFormerConfig) -> None:
        super().__init__(config, SymmetricStem(config.inputs, config.width))

    def step(self, x: Tensor, state: dict[str, Tensor], valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """One tick, in evaluation mode: frame t in, the logits of frame t - 5 out.

        Feed every frame with `valid` (B,) bool True, then five ticks with False to drain the last
        outputs. Outputs before the first frame has come through carry no meaning.
        """
        features, real, stem = self.stem.step(self.normalize(x), state, valid)
        y, advanced = self.trunk.step(features, state)
        # Ticks before the first and after the last frame are not part of the sequence: nothing counts.
        trunk = {name: torch.where(real, advanced[name], state[name]) for name in advanced}
        return y, {**stem, **trunk}
