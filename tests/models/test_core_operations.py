"""The coarse step operators against loops over their definition, and torch's own checks of an operator."""

import torch

from millstream_models.core import causal_conv_ring, linear_memory


def _conv_operands(batch=3, inputs=4, outputs=5, kernel=3):
    generator = torch.Generator().manual_seed(0)
    shapes = ((batch, inputs), (outputs, kernel, inputs), (outputs,), (batch, kernel - 1, inputs))
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def _memory_operands(batch=3, order=6):
    generator = torch.Generator().manual_seed(1)
    shapes = ((batch, 1), (order, order), (order,), (batch, order))
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def test_causal_conv_ring_follows_its_definition():
    x, weight, bias, past = _conv_operands()
    y, present = causal_conv_ring(x, weight, bias, past)
    for b in range(3):
        window = [past[b, 0], past[b, 1], x[b]]
        expected = bias + sum(weight[:, k] @ window[k] for k in range(3))
        torch.testing.assert_close(y[b], expected, rtol=0, atol=1e-14)
        assert torch.equal(present[b], torch.stack(window[1:]))


def test_causal_conv_ring_without_bias_is_the_one_with_a_zero_bias():
    x, weight, bias, past = _conv_operands()
    assert torch.equal(
        causal_conv_ring(x, weight, None, past)[0],
        causal_conv_ring(x, weight, torch.zeros_like(bias), past)[0],
    )


def test_causal_conv_ring_streams_a_convolution():
    _, weight, bias, _ = _conv_operands()
    frames = torch.randn(2, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ring = torch.zeros(2, 2, 4, dtype=torch.float64)
    streamed = []
    for frame in frames.unbind(1):
        y, ring = causal_conv_ring(frame, weight, bias, ring)
        streamed.append(y)
    padded = torch.nn.functional.pad(frames.transpose(1, 2), (2, 0))
    whole = torch.nn.functional.conv1d(padded, weight.permute(0, 2, 1), bias).transpose(1, 2)
    torch.testing.assert_close(torch.stack(streamed, 1), whole, rtol=0, atol=1e-13)


def test_linear_memory_follows_its_definition():
    u, transition, input_matrix, past = _memory_operands()
    present = linear_memory(u, transition, input_matrix, past)
    for b in range(3):
        expected = transition @ past[b] + input_matrix * u[b]
        torch.testing.assert_close(present[b], expected, rtol=0, atol=1e-14)


def test_operators_pass_torchs_checks_of_schema_shapes_and_aliasing():
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(causal_conv_ring, _conv_operands(), test_utils=checks)
    torch.library.opcheck(linear_memory, _memory_operands(), test_utils=checks)


def test_results_share_no_memory_with_each_other_or_with_the_operands():
    operands = _conv_operands()
    tensors = (*operands, *causal_conv_ring(*operands))
    assert len({t.untyped_storage().data_ptr() for t in tensors}) == len(tensors)
