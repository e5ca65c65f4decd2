"""Ternary linear layers: the integer path is the rounded one, and gradients pass the rounding by."""

import pytest
import torch

from millstream_models.matmul_free.naive import ternary_linear
from millstream_models.matmul_free.ternary import TernaryLinear, ternary


def layer(inputs=24, outputs=10, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = TernaryLinear(inputs, outputs).double()
        made.norm.gain.data.uniform_(0.5, 2)
    return made


def frames(inputs=24):
    return torch.randn(5, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_weights_are_the_nearest_of_three():
    weight = torch.tensor([[-4.0, -1.0, -0.4, 0.0, 0.4, 1.0, 4.0]])
    rounded, size = ternary(weight)
    assert float(size) == pytest.approx(10.8 / 7)
    assert rounded.tolist() == [[-1, -1, 0, 0, 0, 1, 1]]


def test_sums_of_whole_numbers_are_the_fake_quantized_product():
    made, x = layer(), frames()
    expected = torch.stack([ternary_linear(made, frame) for frame in x])
    for mode in (made.eval(), made.train()):
        torch.testing.assert_close(mode(x), expected, rtol=0, atol=1e-13)


def test_float32_sums_the_whole_numbers_exactly():
    """In evaluation only the scales round: products are integers below 2^24 in any order."""
    made, x = layer(512, 16).eval(), frames(512).float()
    rounded = torch.randint(-127, 128, (3, 512), generator=torch.Generator().manual_seed(2))
    signs = ternary(made.weight)[0]
    exact = rounded @ signs.long().T
    assert torch.equal(torch.nn.functional.linear(rounded.float(), signs.float()).long(), exact)
    assert made.float()(x).isfinite().all()


def test_gradients_pass_the_rounding_by():
    made, x = layer().train(), frames()
    normed = made.norm(x).detach()
    scale = 127 / normed.abs().amax(-1, keepdim=True)
    rounded = torch.round(normed * scale) / scale
    signs, size = ternary(made.weight.detach())
    upstream = torch.randn(5, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    made.norm.register_forward_hook(lambda _, __, y: y.retain_grad() or setattr(made, "seen", y))
    made(x.requires_grad_(True)).backward(upstream)
    torch.testing.assert_close(made.weight.grad, upstream.T @ rounded, rtol=0, atol=1e-12)
    torch.testing.assert_close(made.seen.grad, upstream @ (signs * size), rtol=0, atol=1e-12)


def test_a_silent_frame_is_silent():
    made = layer().eval()
    assert torch.equal(made(torch.zeros(1, 24, dtype=torch.float64)), torch.zeros(1, 10, dtype=torch.float64))
