"""The Legendre memory of an LMUFormer as a finite impulse response, for sequences of a known length.

What reads the memory is linear in it: W_m m[t] = sum over j of (W_m H_j) u[t - j] with H_j = A^j B. For
sequences of at most T frames the sum ends at T, so G = W_m H (width, T) takes the place of the memory, and
the state is a ring of the last T scalars. Beyond T frames the two differ: the memory does not forget within
its window. So this rewrite is not among those that an export applies by itself.

Needs: T frames at most from reset to reset; a token mixer without norm or spike on the memory. Gives: width
* T multiplications in place of order^2 + order + width * order.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream.reparameterize.candidate import Candidate, Rewrite, part, put
from millstream.reparameterize.flow import Flow, shown
from millstream.reparameterize.idle_feed_forward import linear
from millstream_models.lmuformer.block import TokenMixer
from millstream_models.lmuformer.memory import impulse_response
from millstream_models.lmuformer.trunk import Trunk


def finite_memory(longest: int) -> Rewrite:
    """The rewrite for sequences of at most `longest` frames."""

    def rewrite(root: nn.Module, flow: Flow) -> Iterable[Candidate]:
        for path, trunk in root.named_modules():
            mixers = [
                f"{path}.{name}" for name, each in trunk.named_modules() if isinstance(each, TokenMixer)
            ]
            if isinstance(trunk, Trunk) and mixers:
                where = ", ".join(map(shown, mixers))
                yield Candidate(where, _Fold(path, tuple(mixers), longest))

    return rewrite


class _Fold:
    def __init__(self, trunk: str, mixers: tuple[str, ...], longest: int) -> None:
        self._trunk, self._mixers, self._longest = trunk, mixers, longest

    def __call__(self, root: nn.Module) -> None:
        for path in self._mixers:
            put(root, path, _folded(part(root, path), self._longest))
        # The state of every block is now a ring of scalars.
        part(root, self._trunk).order = self._longest


def _folded(mixer: TokenMixer, longest: int) -> FiniteTokenMixer:
    memory, read = mixer.memory, mixer.read
    order, dtype = len(memory.input_matrix), read.weight.dtype
    response = impulse_response(memory.transition.double(), memory.input_matrix.double(), longest)
    weight = read.weight.double()
    taps = weight[:, :order] @ response
    return FiniteTokenMixer(mixer.drive, taps.flip(1), linear(weight[:, order:], read.bias.double(), dtype))


class FiniteTokenMixer(nn.Module):
    """h[t] = relu(sum over the last T frames of taps * u + read(x[t])) with u = relu(drive(x))."""

    def __init__(self, drive: nn.Linear, taps: Tensor, read: nn.Linear) -> None:
        super().__init__()
        self.drive, self.read = drive, read
        self.taps = nn.Parameter(taps.to(read.weight.dtype).contiguous(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        u = functional.pad(torch.relu(self.drive(x)).transpose(1, 2), (self.taps.shape[1] - 1, 0))
        mixed = functional.conv1d(u, self.taps.unsqueeze(1)).transpose(1, 2)
        return torch.relu(mixed + self.read(x))

    def step(self, x: Tensor, ring: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width) and the last T scalars, oldest first -> (B, width) and the next ring."""
        ring = torch.cat((ring[:, 1:], torch.relu(self.drive(x))), dim=1)
        return torch.relu(functional.linear(ring, self.taps) + self.read(x)), ring
