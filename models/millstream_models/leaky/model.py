"""A recurrent network without gates: leaky integrators between linear layers.

Leaky integrators are those of Jaeger et al., "Optimization and applications of echo state networks with
leaky-integrator neurons" (2007), here without connections among them. Each keeps 1 - 2^-k of itself, so in
fixed point its decay is one subtraction, and nothing multiplies two activations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.lmuformer.norm import InputNorm

State = dict[str, Tensor]

#: What memories keep from frame to frame, in turn, and what scores keep.
MEMORY_KEEPS = (1 / 2, 3 / 4, 7 / 8)
SCORE_KEEP = 15 / 16


class LeakyNetwork(nn.Module):
    """drive = relu(write x);  memory = keep * memory + drive;  score = 15/16 score + head relu(read memory).

    The scores are a sum over the frames so far in which old frames count less; whoever decides by the largest
    needs no mean.
    """

    keep: Tensor

    def __init__(self, inputs: int, memories: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.normalize = InputNorm(inputs)
        self.write = nn.Linear(inputs, memories)
        self.read = nn.Linear(memories, hidden)
        self.head = nn.Linear(hidden, classes)
        keeps = [MEMORY_KEEPS[place % len(MEMORY_KEEPS)] for place in range(memories)]
        self.register_buffer("keep", torch.tensor(keeps), persistent=False)
        with torch.no_grad():
            # Memories begin as large as what drives them.
            self.write.weight.mul_(1 - self.keep[:, None])
            self.write.bias.mul_(1 - self.keep)

    def initial_state(self, batch: int) -> State:
        """Empty memories, and no score for anybody."""
        return {
            "memory": self.keep.new_zeros(batch, len(self.keep)),
            "score": self.keep.new_zeros(batch, self.classes),
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """A frame (B, inputs) to scores (B, classes)."""
        drive = functional.relu(self.write(self.normalize(x)))
        memory = state["memory"] * self.keep + drive
        score = state["score"] * SCORE_KEEP + self.head(functional.relu(self.read(memory)))
        return score, {"memory": memory, "score": score}

    def forward(self, x: Tensor) -> Tensor:
        """Frames (B, T, inputs) to scores (B, T, classes)."""
        state, scores = self.initial_state(len(x)), []
        for frame in x.unbind(1):
            score, state = self.step(frame, state)
            scores.append(score)
        return torch.stack(scores, 1)


def leaky_jv() -> LeakyNetwork:
    """The configuration for JapaneseVowels: (12,) raw frames, 9 speakers; untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LeakyNetwork(12, 12, 16, 9).eval()
