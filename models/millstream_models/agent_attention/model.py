"""Agent attention with fixed agents: agents attend to the frames so far, and every frame attends to the
agents.

Source: Han et al., "Agent Attention: On the Integration of Softmax and Linear Attention" (ECCV 2024). The
published agents are pooled queries of the whole input; constants in their place make the mixer causal.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.forms.gating import NOTHING
from millstream_models.core.parts.heads import join, split
from millstream_models.core.shell import Mixer, State, StreamModel, small


class AgentAttention(Mixer):
    """Each of M agents is a running softmax over the frames; o = softmax(q Aᵀ + bias) of what they hold.

    The agents' sums are one recurrence with M key channels, read with the weights of the second softmax
    divided by the agents' own totals. A causal depthwise convolution of the values is added.
    """

    def __init__(self, width: int, heads: int, agents: int, taps: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.agents = nn.Parameter(torch.randn(heads, agents, width // heads))
        self.collect_bias, self.spread_bias = (nn.Parameter(torch.zeros(heads, agents)) for _ in range(2))
        self.local = nn.Parameter(torch.randn(taps, width) * taps**-0.5)
        self.local_bias = nn.Parameter(torch.zeros(width))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        flat = self.v(x)
        q, k, v = (split(y, self.heads) for y in (self.q(x), self.k(x), flat))
        collect, spread = self._scores(k) + self.collect_bias, self._scores(q) + self.spread_bias
        decay, write, _, maximum = form.stabilize(torch.zeros_like(collect), collect, state["maximum"])
        # The totals are a recurrence of their own, every agent a head with one number.
        each, one = write.flatten(-2).unsqueeze(-1), torch.ones_like(write).flatten(-2).unsqueeze(-1)
        totals, total = form.recur(one, one, each, decay.flatten(-2).unsqueeze(-1), state["total"])
        weights = torch.softmax(spread, -1) / totals.squeeze(-1).unflatten(-1, spread.shape[-2:])
        o, memory = form.recur(weights, write, v, decay, state["memory"])
        local, ring = form.convolve(flat, self.local, self.local_bias, state["ring"])
        after = {"maximum": maximum, "total": total, "memory": memory, "ring": ring}
        return self.out(join(o) + local), after

    def _scores(self, x: Tensor) -> Tensor:
        """(..., H, D) -> (..., H, M)."""
        scaled = x.unsqueeze(-1) * x.shape[-1] ** -0.5
        return torch.matmul(self.agents, scaled).squeeze(-1)

    def initial_state(self, batch: int) -> State:
        heads, agents, width = self.agents.shape
        zeros = self.agents.new_zeros(batch, heads, width, agents)
        return {
            "maximum": zeros.new_full((batch, heads, agents), NOTHING),
            "total": zeros.new_zeros(batch, heads * agents, 1, 1),
            "memory": zeros,
            "ring": zeros.new_zeros(batch, self.local.shape[0] - 1, self.local.shape[1]),
        }


def agent_attention() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: AgentAttention(32, heads=2, agents=7))
