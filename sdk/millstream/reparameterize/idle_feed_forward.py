"""RePaViT's channel-idle feed-forward layer: its idle channels and the shortcut become one matrix.

With both norms folded into the layers around them, W1' b1' and W2' b2', and a the active channels:
y = W2'[:, :a] GELU(W1'[:a] x + b1'[:a]) + (W2'[:, a:] W1'[a:] + I) x + W2'[:, a:] b1'[a:] + b2',
without I where the layer has no shortcut.

Needs: fixed statistics; more than half as many idle channels as the layer is wide, else two thin matrices
are the smaller ones. Gives: at ratio 4 and three quarters idle, 3 d^2 multiplications in place of 8 d^2.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from millstream.reparameterize.batch_norm import affine_of, not_fixed
from millstream.reparameterize.candidate import Candidate, part, put
from millstream.reparameterize.flow import Flow, shown
from millstream.reparameterize.layers import SplitFeedForward
from millstream_models.foldable import IdleFeedForward


def idle_feed_forward(root: nn.Module, flow: Flow) -> Iterable[Candidate]:
    """Every channel-idle layer that was called."""
    for path, layer in flow.layers((IdleFeedForward,)):
        yield _candidate(path, layer)


def _candidate(path: str, layer: IdleFeedForward) -> Candidate:
    where = shown(path)
    unfit = not_fixed(layer.norm) or not_fixed(layer.hidden_norm)
    if unfit:
        return Candidate(where, why=f"its norm: {unfit}")
    width, hidden = layer.expand.in_features, layer.expand.out_features
    idle = hidden - layer.active
    if 2 * idle <= width:
        why = (
            f"{idle} idle channels are not more than half of {width}: two thin matrices are smaller than one"
        )
        return Candidate(where, why=why)
    return Candidate(where, lambda root: put(root, path, folded(part(root, path))))


def folded(layer: IdleFeedForward) -> SplitFeedForward:
    """The deployed form, computed in float64."""
    w1, b1 = _after_norm(layer.norm, layer.expand)
    w2, b2 = _after_norm(layer.hidden_norm, layer.contract)
    active = layer.active
    bypass = w2[:, active:] @ w1[active:]
    if layer.shortcut:
        bypass = bypass + torch.eye(len(bypass), dtype=torch.float64)
    dtype = layer.expand.weight.dtype
    return SplitFeedForward(
        inner=linear(w1[:active], b1[:active], dtype),
        activation=layer.activation,
        outer=linear(w2[:, :active], None, dtype),
        bypass=linear(bypass, w2[:, active:] @ b1[active:] + b2, dtype),
    )


def linear(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> nn.Linear:
    """A linear layer of a weight (out, in) and a bias (out,) or None, cast once."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, dtype=dtype)
    layer.weight = nn.Parameter(weight.to(dtype).contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return layer


def _after_norm(norm: nn.Module, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    affine, weight = affine_of(norm), layer.weight.double()
    return weight * affine.scale, layer.bias.double() + weight @ affine.shift
