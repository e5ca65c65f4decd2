"""SLAB's progressive norm, when its training is over, is one scale and shift per channel.

BatchNorm(x) + skip x = (gamma / sqrt(var + eps) + skip) x + (beta - gamma mean / sqrt(var + eps)).

Needs: the share of LayerNorm at 0, as evaluation computes the other term alone. Gives: no statistics per
token, and an affine that `batch_norm` then folds into its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from millstream.reparameterize.batch_norm import affine_of
from millstream.reparameterize.candidate import Candidate, part, put
from millstream.reparameterize.flow import Flow, shown
from millstream.reparameterize.layers import ChannelAffine
from millstream_models.foldable import ProgressiveNorm


def progressive_norm(root: nn.Module, flow: Flow) -> Iterable[Candidate]:
    """Every progressive norm that was called."""
    for path, norm in flow.layers((ProgressiveNorm,)):
        yield _candidate(path, norm)


def _candidate(path: str, norm: ProgressiveNorm) -> Candidate:
    if norm.weight > 0:
        why = (
            f"lambda is {norm.weight:.3g} after {int(norm.done)} of {norm.updates} updates: LayerNorm still "
            "has a share of what was trained; train until lambda is 0"
        )
        return Candidate(shown(path), why=why)
    return Candidate(shown(path), lambda root: _fold(root, path))


def _fold(root: nn.Module, path: str) -> None:
    norm = part(root, path)
    affine, dtype = affine_of(norm.batch_norm), norm.skip.dtype
    scale = affine.scale + norm.skip.double()
    put(root, path, ChannelAffine(scale.to(dtype), affine.shift.to(dtype), axis=-1))
