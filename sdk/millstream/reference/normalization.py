"""Normalizations and softmax. All compute in float64 and round once.

Source of every definition: the ONNX operator specification, opset 21 (RMSNormalization: opset 23).
Parameters named `stash_type` choose the precision of intermediate values, which is float64 here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from millstream.errors import UnsupportedModel
from millstream.reference.precision import Operator, rounded_once, wide


def batch_normalization(
    x: np.ndarray,
    scale: np.ndarray,
    b: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> np.ndarray:
    """scale (x - mean) / sqrt(var + epsilon) + b per channel of x (N, C, ...), with stored statistics.

    Raises UnsupportedModel in training mode, which would estimate the statistics from the batch.
    """
    if training_mode:
        raise UnsupportedModel(
            "BatchNormalization in training mode",
            why="its statistics depend on the whole batch",
            fix="call module.eval() before export",
        )
    scale, b, mean, var = (_per_channel(v, x.ndim) for v in (scale, b, mean, var))
    return scale * (x - mean) / np.sqrt(var + epsilon) + b


def instance_normalization(
    x: np.ndarray, scale: np.ndarray, b: np.ndarray, epsilon: float = 1e-5
) -> np.ndarray:
    """Each channel of each instance of x (N, C, ...) standardized over its spatial axes."""
    standard = _standardize(x, tuple(range(2, x.ndim)), epsilon)
    return _per_channel(scale, x.ndim) * standard + _per_channel(b, x.ndim)


def group_normalization(
    x: np.ndarray,
    scale: np.ndarray,
    b: np.ndarray,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> np.ndarray:
    """Groups of channels of x (N, C, ...) standardized together; scale and b are per channel."""
    groups = x.reshape(x.shape[0], num_groups, -1)
    standard = _standardize(groups, (2,), epsilon).reshape(x.shape)
    return _per_channel(scale, x.ndim) * standard + _per_channel(b, x.ndim)


def layer_normalization(
    x: np.ndarray,
    scale: np.ndarray,
    b: np.ndarray | None = None,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x standardized over the axes from `axis` on; also the mean and 1 / deviation, as float32."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = wide(x).mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt(wide(x).var(axis=axes, keepdims=True) + epsilon)
    y = (wide(x) - mean) * inverse * wide(scale)
    y = y if b is None else y + wide(b)
    return y.astype(x.dtype), mean.astype(np.float32), inverse.astype(np.float32)


def rms_normalization(
    x: np.ndarray, scale: np.ndarray, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> np.ndarray:
    """x divided by its root mean square over the axes from `axis` on, times scale."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    return x / np.sqrt(np.mean(x**2, axis=axes, keepdims=True) + epsilon) * scale


def mean_variance_normalization(x: np.ndarray, axes: Sequence[int] = (0, 2, 3)) -> np.ndarray:
    """x standardized over `axes`; ONNX's body adds 1e-9 to the deviation."""
    mean = x.mean(axis=tuple(axes), keepdims=True)
    return (x - mean) / (x.std(axis=tuple(axes), keepdims=True) + 1e-9)


def lp_normalization(x: np.ndarray, axis: int = -1, p: int = 2) -> np.ndarray:
    """x divided by its p-norm (p 1 or 2) along `axis`; zero where the norm is zero."""
    norm = np.linalg.norm(x, ord=p, axis=axis, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)


def local_response_normalization(
    x: np.ndarray, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> np.ndarray:
    """x / (bias + alpha / size * sum of squares over `size` neighbouring channels)^beta."""
    before = (size - 1) // 2
    squares = np.pad(x**2, [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)])
    sums = np.lib.stride_tricks.sliding_window_view(squares, size, axis=1).sum(axis=-1)
    return x / (bias + alpha / size * sums) ** beta


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """e^x / sum e^x along `axis`, from x less its largest so that nothing overflows"""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """x - log sum e^x along `axis`"""
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def hardmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """1 at the first largest element along `axis`, 0 elsewhere"""
    y = np.zeros_like(x)
    np.put_along_axis(y, x.argmax(axis=axis, keepdims=True), 1, axis)
    return y


def _per_channel(v: np.ndarray, rank: int) -> np.ndarray:
    return v.reshape(1, -1, *(1,) * (rank - 2))


def _standardize(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + epsilon)


OPERATORS: dict[str, Operator] = {
    "BatchNormalization": rounded_once(batch_normalization),
    "GroupNormalization": rounded_once(group_normalization),
    "Hardmax": hardmax,
    "InstanceNormalization": rounded_once(instance_normalization),
    "LRN": rounded_once(local_response_normalization),
    "LayerNormalization": layer_normalization,
    "LogSoftmax": rounded_once(log_softmax),
    "LpNormalization": rounded_once(lp_normalization),
    "MeanVarianceNormalization": rounded_once(mean_variance_normalization),
    "RMSNormalization": rounded_once(rms_normalization),
    "Softmax": rounded_once(softmax),
}
