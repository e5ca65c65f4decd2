"""Quantization and integer arithmetic.

Source of every definition: the ONNX operator specification, opset 21. Unlike in the other families,
values are scaled in the dtype of the scale, as the specification's formulas stand, because it decides which
of two neighbours a value rounds to. Integer dot products are exact in int32.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx.helper

from millstream.reference.convolution import convolve
from millstream.reference.precision import Operator


def quantize_linear(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray | None = None,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
) -> np.ndarray:
    """saturate(round(x / scale) + zero point), rounding to even neighbours.

    One scale for the tensor, one per slice along `axis`, or one per block of `block_size` along it. The
    result has the dtype of the zero point, or `output_dtype`, or uint8. `saturate` speaks of 8-bit floats.
    """
    if zero_point is not None:
        dtype = zero_point.dtype
    elif output_dtype:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(output_dtype)
    else:
        dtype = np.dtype(np.uint8)
    wide_scale = _spread(scale, x.shape, axis, block_size)
    steps = np.rint(x.astype(scale.dtype) / wide_scale)
    offset = 0 if zero_point is None else _spread(_integers(zero_point), x.shape, axis, block_size)
    return _saturate(steps, offset, dtype)


def dequantize_linear(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray | None = None,
    axis: int = 1,
    block_size: int = 0,
) -> np.ndarray:
    """(x - zero point) scale, in the dtype of the scale; granularity as in `quantize_linear`."""
    steps = _integers(x)
    if zero_point is not None:
        steps = steps - _spread(_integers(zero_point), x.shape, axis, block_size)
    return steps.astype(scale.dtype) * _spread(scale, x.shape, axis, block_size)


def dynamic_quantize_linear(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x as uint8 with the scale and zero point that just hold its range, zero included."""
    low, high = np.minimum(x.min(), 0), np.maximum(x.max(), 0)
    scale = np.asarray((high - low) / np.float32(255), np.float32)
    zero_point = np.asarray(np.clip(np.rint(-low / scale), 0, 255), np.uint8)
    return quantize_linear(x, scale, zero_point), scale, zero_point


def matmul_integer(
    a: np.ndarray,
    b: np.ndarray,
    a_zero_point: np.ndarray | None = None,
    b_zero_point: np.ndarray | None = None,
) -> np.ndarray:
    """(A - its zero point) (B - its zero point) in int32; zero points per tensor, row of A, column of B."""
    return np.matmul(_centre(a, a_zero_point, -2), _centre(b, b_zero_point, -1))


def convolve_integer(
    x: np.ndarray,
    w: np.ndarray,
    x_zero_point: np.ndarray | None = None,
    w_zero_point: np.ndarray | None = None,
    **attributes: Any,
) -> np.ndarray:
    """The convolution of (x - its zero point) with (w - its zero point, also per filter) in int32.

    Attributes are those of `convolve`; padding is with the zero point.
    """
    return convolve(_centre(x, x_zero_point, 0), _centre(w, w_zero_point, 0), **attributes)


def quantized_matmul(
    a: np.ndarray,
    a_scale: np.ndarray,
    a_zero_point: np.ndarray,
    b: np.ndarray,
    b_scale: np.ndarray,
    b_zero_point: np.ndarray,
    y_scale: np.ndarray,
    y_zero_point: np.ndarray,
) -> np.ndarray:
    """The product of two quantized matrices, quantized again."""
    product = matmul_integer(a, b, a_zero_point, b_zero_point)
    scale = _align(a_scale, product.ndim, -2) * _align(b_scale, product.ndim, -1) / y_scale
    return _requantize(product, scale, y_zero_point)


def quantized_convolve(
    x: np.ndarray,
    x_scale: np.ndarray,
    x_zero_point: np.ndarray,
    w: np.ndarray,
    w_scale: np.ndarray,
    w_zero_point: np.ndarray,
    y_scale: np.ndarray,
    y_zero_point: np.ndarray,
    b: np.ndarray | None = None,
    **attributes: Any,
) -> np.ndarray:
    """The convolution of quantized x and w (per tensor or filter) with int32 bias b, quantized again."""
    sums = convolve(_centre(x, x_zero_point, 0), _centre(w, w_zero_point, 0), b, **attributes)
    scale = _align(x_scale * w_scale / y_scale, sums.ndim, 1)
    return _requantize(sums, scale, y_zero_point)


def _integers(x: np.ndarray) -> np.ndarray:
    """Any integer array, of 4 bits too, as int32."""
    return x.astype(np.int32)


def _saturate(steps: np.ndarray, offset: np.ndarray | int, dtype: np.dtype) -> np.ndarray:
    """steps + offset kept within the range of an integer dtype; `steps` are whole floats."""
    limits = ml_dtypes.iinfo(dtype)
    return np.clip(steps.astype(np.float64) + offset, limits.min, limits.max).astype(dtype)


def _requantize(sums: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """int32 sums times the scale; in float32 at least, because float16 does not reach as far as sums do."""
    dtype = np.promote_types(scale.dtype, np.float32)
    steps = np.rint(sums.astype(dtype) * scale.astype(dtype))
    return _saturate(steps, _integers(zero_point), zero_point.dtype)


def _centre(x: np.ndarray, zero_point: np.ndarray | None, axis: int) -> np.ndarray:
    """x less its zero point, which is one number or one per slice along `axis`, in int32."""
    if zero_point is None:
        return _integers(x)
    return _integers(x) - _align(_integers(zero_point), x.ndim, axis)


def _align(v: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """A vector laid along `axis` of an array of that rank; anything else broadcasts as it is."""
    if v.ndim != 1 or v.size == 1:
        return v
    return v.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def _spread(v: np.ndarray, shape: tuple[int, ...], axis: int, block_size: int) -> np.ndarray:
    """Quantization parameters brought to a shape that broadcasts against `shape`."""
    if not block_size:
        return _align(v, len(shape), axis)
    return np.repeat(v, block_size, axis=axis)[tuple(slice(extent) for extent in shape)]


OPERATORS: dict[str, Operator] = {
    "ConvInteger": convolve_integer,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "MatMulInteger": matmul_integer,
    "QLinearConv": quantized_convolve,
    "QLinearMatMul": quantized_matmul,
    "QuantizeLinear": quantize_linear,
}
