"""The training form of every system: its gradients, and that it trains in training mode."""

import copy

import pytest
import torch
from systems import NAMES, frames, moved

#: A central difference with a step of 1e-5 is good to 1e-10 times the third derivative, and to rounding.
SMOOTH = 1e-6
#: Newton-Schulz steps blow rounding up from frame to frame (`test_forms.py`): few frames, and a wider bound.
SHORT = {"atlas": 3}
AMPLIFIED = {"atlas": 1e-4}
#: Rounded to whole numbers, the function is a staircase; `test_ternary.py` looks at its gradient.
ROUNDED = ("matmul_free",)
STEP = 1e-5


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ROUNDED])
def test_the_gradient_is_the_slope(name):
    """Along one random direction of all parameters at once; rounding and spikes are locally constant."""
    model, x = copy.deepcopy(moved(name)), frames(SHORT.get(name, 19), seed=6)
    weights = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    parameters = [p.requires_grad_(True) for p in model.parameters()]
    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn(p.shape, dtype=torch.float64, generator=generator) for p in parameters]
    length = sum(float((d * d).sum()) for d in directions) ** 0.5
    (model(x) @ weights).sum().backward()
    pairs = zip(parameters, directions, strict=True)
    slope = sum((p.grad * d).sum() / length for p, d in pairs if p.grad is not None)
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for p, d in zip(parameters, directions, strict=True):
                p.add_(d, alpha=sign * STEP / length)
            values.append((model(x) @ weights).sum())
    difference = (values[0] - values[1]) / (2 * STEP)
    assert slope.isfinite()
    assert abs(slope - difference) < AMPLIFIED.get(name, SMOOTH) * (1 + abs(slope))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_in_training_mode(name):
    """A few steps of Adam on one batch: the loss falls, and every trained parameter has had a gradient."""
    model = copy.deepcopy(moved(name)).float().train()
    x = frames(12, seed=7).float()
    wanted = torch.tanh(torch.cumsum(x[..., :8], 1))
    parameters = [p.requires_grad_(True) for p in model.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    still = [key for key, p in model.named_parameters() if p.grad is None]
    assert not [key for key in still if not _never_used(name, key)]


def _never_used(name: str, key: str) -> bool:
    """Parameters that only choose: a decision has no derivative."""
    choosing = {"early_exit": "confidence", "layer_skip": "routers"}
    return name in choosing and choosing[name] in key
