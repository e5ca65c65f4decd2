"""The reference in float32 against torch in float64, on odd sizes and settings that official cases lack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from one_node import run
from torch import nn
from torch.nn import functional

#: One rounding to float32. Where results cancel, float64 itself leaves about 1e-15.
_ONE_ROUNDING = {"rtol": 2.0**-24 * 1.01, "atol": 1e-13}


def _data(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _same(result: np.ndarray, expected: torch.Tensor) -> None:
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.astype(np.float64), expected.detach().numpy(), **_ONE_ROUNDING)


def _double(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).double()


@pytest.mark.parametrize(
    ("spatial", "kernel", "strides", "dilations", "pads", "group"),
    [
        ((17,), (5,), (1,), (1,), (4, 0), 1),
        ((17,), (3,), (2,), (3,), (1, 5), 3),
        ((9,), (4,), (3,), (1,), (0, 0), 6),
        ((7, 11), (3, 2), (2, 1), (1, 4), (0, 2, 1, 3), 2),
        ((5, 4, 7), (1, 3, 2), (1, 1, 3), (1, 1, 1), (0, 1, 0, 0, 1, 1), 1),
    ],
)
def test_convolution(
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: tuple[int, ...],
    group: int,
) -> None:
    x, w, b = _data(3, 6, *spatial), _data(12, 6 // group, *kernel), _data(12)
    rank = len(spatial)
    (y,) = run("Conv", x, w, b, strides=strides, dilations=dilations, pads=pads, group=group)
    torch_pads = [pad for axis in reversed(range(rank)) for pad in (pads[axis], pads[axis + rank])]
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    expected = convolve(
        functional.pad(_double(x), torch_pads),
        _double(w),
        _double(b),
        stride=strides,
        dilation=dilations,
        groups=group,
    )
    _same(y, expected)


@pytest.mark.parametrize(
    ("stride", "pad", "output_padding", "dilation", "group"),
    [
        (1, 0, 0, 1, 1),
        (3, 1, 2, 1, 2),
        (2, 2, 1, 2, 4),
    ],
)
def test_transposed_convolution(
    stride: int, pad: int, output_padding: int, dilation: int, group: int
) -> None:
    x, w, b = _data(2, 4, 7), _data(4, 3, 5), _data(3 * group)
    attributes = {"strides": [stride], "pads": [pad, pad], "dilations": [dilation]}
    (y,) = run("ConvTranspose", x, w, b, output_padding=[output_padding], group=group, **attributes)
    expected = functional.conv_transpose1d(
        _double(x), _double(w), _double(b), stride, pad, output_padding, group, dilation
    )
    _same(y, expected)


def test_integer_convolution_is_exact_where_float32_is_not() -> None:
    x = np.full((1, 70000, 1), 255, np.uint8)
    w = np.full((1, 70000, 1), 127, np.int8)
    (y,) = run("ConvInteger", x, w)
    assert y.dtype == np.int32
    # 2,266,950,000 does not fit int32, which wraps as the hardware's accumulator does.
    assert y.item() == 255 * 127 * 70000 - 2**32


@pytest.mark.parametrize("size", [7, 8, 9, 10])
@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_average_pool_with_a_partial_last_window(size: int, count_include_pad: int) -> None:
    x = _data(2, 3, size)
    (y,) = run(
        "AveragePool",
        x,
        kernel_shape=[3],
        strides=[2],
        pads=[1, 1],
        ceil_mode=1,
        count_include_pad=count_include_pad,
    )
    expected = functional.avg_pool1d(
        _double(x), 3, 2, 1, ceil_mode=True, count_include_pad=bool(count_include_pad)
    )
    _same(y, expected)


@pytest.mark.parametrize("size", [7, 8, 9, 10])
def test_max_pool_with_a_partial_last_window(size: int) -> None:
    x = _data(2, 3, size)
    (y,) = run("MaxPool", x, kernel_shape=[3], strides=[2], pads=[1, 1], dilations=[2], ceil_mode=1)
    _same(y, functional.max_pool1d(_double(x), 3, 2, 1, dilation=2, ceil_mode=True))


def test_global_lp_pool() -> None:
    x = _data(2, 3, 5, 7)
    (y,) = run("GlobalLpPool", x, p=3)
    _same(y, torch.linalg.vector_norm(_double(x), ord=3, dim=(2, 3), keepdim=True))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_and_its_logarithm(axis: int) -> None:
    x = 50 * _data(3, 5, 7)
    _same(run("Softmax", x, axis=axis)[0], torch.softmax(_double(x), axis))
    _same(run("LogSoftmax", x, axis=axis)[0], torch.log_softmax(_double(x), axis))


def test_normalizations() -> None:
    x, scale, b = 3 + _data(2, 6, 5), _data(6), _data(6)
    last, last_b = _data(5), _data(5, 1)[:, 0]
    _same(
        run("LayerNormalization", x, last, last_b, epsilon=1e-3)[0],
        functional.layer_norm(_double(x), (5,), _double(last), _double(last_b), 1e-3),
    )
    _same(
        run("GroupNormalization", x, scale, b, num_groups=3, epsilon=1e-3)[0],
        functional.group_norm(_double(x), 3, _double(scale), _double(b), 1e-3),
    )
    _same(
        run("InstanceNormalization", x, scale, b, epsilon=1e-3)[0],
        functional.instance_norm(_double(x), weight=_double(scale), bias=_double(b), eps=1e-3),
    )
    _same(
        run("RMSNormalization", x, last, epsilon=1e-3)[0],
        functional.rms_norm(_double(x), (5,), _double(last), 1e-3),
    )
    mean, var = _data(6, 2)[:, 0], np.exp(_data(6, 3)[:, 0])
    _same(
        run("BatchNormalization", x, scale, b, mean, var, epsilon=1e-3)[0],
        functional.batch_norm(_double(x), *map(_double, (mean, var, scale, b)), eps=1e-3),
    )


@pytest.mark.parametrize(
    ("operator", "function"),
    [
        ("Sigmoid", torch.sigmoid),
        ("Softplus", lambda x: torch.logaddexp(x, torch.zeros_like(x))),
        ("Gelu", lambda x: x / 2 * torch.erfc(-x / 2**0.5)),
        ("Mish", lambda x: x * torch.tanh(torch.logaddexp(x, torch.zeros_like(x)))),
        ("Elu", functional.elu),
        ("Tanh", torch.tanh),
        ("Erf", torch.erf),
        ("HardSwish", functional.hardswish),
    ],
)
def test_activations_keep_relative_precision_far_from_zero(
    operator: str, function: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    x = np.linspace(-12, 12, 97, dtype=np.float32)
    _same(run(operator, x)[0], function(_double(x)))


def _gates(tensors: list[torch.Tensor], order: list[int]) -> np.ndarray:
    """Torch's weights of each direction with their gates in ONNX's order: (D, G H, ...)."""
    count = len(order)
    return np.stack(
        [
            np.concatenate([t.detach().numpy().reshape(count, -1, *t.shape[1:])[g] for g in order])
            for t in tensors
        ]
    )


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize(
    ("layer", "order", "attributes"),
    [
        (nn.LSTM, [0, 3, 1, 2], {}),
        (nn.GRU, [1, 0, 2], {"linear_before_reset": 1}),
        (nn.RNN, [0], {}),
    ],
)
def test_recurrent_layers(
    layer: type[nn.LSTM], order: list[int], attributes: dict[str, int], steps: int, directions: int
) -> None:
    torch.manual_seed(7)
    module = layer(5, 3, bidirectional=directions == 2)
    ends = ["", "_reverse"][:directions]
    w = _gates([getattr(module, f"weight_ih_l0{end}") for end in ends], order)
    r = _gates([getattr(module, f"weight_hh_l0{end}") for end in ends], order)
    biases = [[getattr(module, f"bias_{part}_l0{end}") for end in ends] for part in ("ih", "hh")]
    b = np.concatenate([_gates(side, order) for side in biases], axis=1)
    x, starts = _data(steps, 4, 5), [_data(directions, 4, 3)] * (2 if layer is nn.LSTM else 1)
    results = run(
        layer.__name__,
        x,
        w,
        r,
        b,
        None,
        *starts,
        results=1 + len(starts),
        hidden_size=3,
        direction="bidirectional" if directions == 2 else "forward",
        **attributes,
    )
    start = tuple(map(_double, starts)) if len(starts) == 2 else _double(starts[0])
    sequence, last = module.double()(_double(x), start)
    _same(results[0].transpose(0, 2, 1, 3).reshape(steps, 4, -1), sequence)
    for result, expected in zip(results[1:], last if len(starts) == 2 else (last,), strict=True):
        _same(result, expected)


# Not to one column: torch's antialiased resize then repeats its first row.
@pytest.mark.parametrize("sizes", [(11, 17), (3, 4), (1, 6), (14, 2)])
@pytest.mark.parametrize(
    ("mode", "settings", "attributes"),
    [
        ("nearest", {}, {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        ("nearest-exact", {}, {"nearest_mode": "round_prefer_ceil"}),
        ("bilinear", {"align_corners": False}, {"mode": "linear"}),
        (
            "bilinear",
            {"align_corners": True},
            {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        ),
        ("bicubic", {"align_corners": False}, {"mode": "cubic"}),
        (
            "bicubic",
            {"align_corners": False, "antialias": True},
            {"mode": "cubic", "antialias": 1, "exclude_outside": 1, "cubic_coeff_a": -0.5},
        ),
        (
            "bilinear",
            {"align_corners": False, "antialias": True},
            {"mode": "linear", "antialias": 1, "exclude_outside": 1},
        ),
    ],
)
def test_resize(sizes: tuple[int, int], mode: str, settings: dict, attributes: dict) -> None:
    x = _data(2, 3, 7, 9)
    given = np.array(sizes)
    (y,) = run("Resize", x, None, None, given, axes=[2, 3], **attributes)
    _same(y, functional.interpolate(_double(x), sizes, mode=mode, **settings))


# torch has no cubic sampling in three dimensions.
@pytest.mark.parametrize(
    ("spatial", "mode"),
    [
        ((7, 9), "nearest"),
        ((7, 9), "linear"),
        ((7, 9), "cubic"),
        ((1, 5), "linear"),
        ((1, 5), "cubic"),
        ((4, 6, 5), "nearest"),
        ((4, 6, 5), "linear"),
    ],
)
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [False, True])
def test_grid_sample(spatial: tuple[int, ...], mode: str, padding: str, corners: bool) -> None:
    names = {"linear": "bilinear", "cubic": "bicubic"}
    x, grid = _data(2, 3, *spatial), 1.7 * _data(2, *spatial, len(spatial))
    (y,) = run("GridSample", x, grid, mode=mode, padding_mode=padding, align_corners=int(corners))
    expected = functional.grid_sample(_double(x), _double(grid), names.get(mode, mode), padding, corners)
    _same(y, expected)
