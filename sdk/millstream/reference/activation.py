"""Activation functions, element by element. All compute in float64 and round once.

Source of every definition: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

import math

import numpy as np

from millstream.reference.precision import Operator, rounded_once


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)"""
    return np.maximum(x, 0)


def leaky_relu(x: np.ndarray, alpha: float = 0.01) -> np.ndarray:
    """alpha x below zero, else x"""
    return np.where(x < 0, alpha * x, x)


def prelu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """slope x below zero, else x; the slope broadcasts to x"""
    return np.where(x < 0, slope * x, x)


def thresholded_relu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """x above alpha, else 0"""
    return np.where(x > alpha, x, 0)


def elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """alpha (e^x - 1) below zero, else x"""
    return np.where(x < 0, alpha * np.expm1(x), x)


def selu(
    x: np.ndarray, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> np.ndarray:
    """gamma elu(x, alpha)"""
    return gamma * elu(x, alpha)


def celu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """max(0, x) + min(0, alpha (e^(x / alpha) - 1))"""
    return np.maximum(x, 0) + np.minimum(alpha * np.expm1(x / alpha), 0)


def erfc(x: np.ndarray) -> np.ndarray:
    """1 - erf(x) without the cancellation"""
    return np.vectorize(math.erfc, otypes=[np.float64])(x)


def gelu(x: np.ndarray, approximate: str = "none") -> np.ndarray:
    """x times the normal distribution function of x, exact or by its tanh approximation"""
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * erfc(-x / np.sqrt(2))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), written so that it neither overflows nor loses relative precision"""
    return np.exp(-np.logaddexp(0, -x))


def hard_sigmoid(x: np.ndarray, alpha: float = 0.2, beta: float = 0.5) -> np.ndarray:
    """alpha x + beta kept within [0, 1]"""
    return np.clip(alpha * x + beta, 0, 1)


def hard_swish(x: np.ndarray) -> np.ndarray:
    """x hard_sigmoid(x, 1/6, 1/2)"""
    return x * hard_sigmoid(x, 1 / 6, 0.5)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + e^x)"""
    return np.logaddexp(0, x)


def softsign(x: np.ndarray) -> np.ndarray:
    """x / (1 + |x|)"""
    return x / (1 + np.abs(x))


def mish(x: np.ndarray) -> np.ndarray:
    """x tanh(softplus(x))"""
    return x * np.tanh(softplus(x))


def shrink(x: np.ndarray, bias: float = 0.0, lambd: float = 0.5) -> np.ndarray:
    """x moved towards zero by `bias` outside [-lambd, lambd], else 0"""
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0))


OPERATORS: dict[str, Operator] = {
    "Celu": rounded_once(celu),
    "Elu": rounded_once(elu),
    "Gelu": rounded_once(gelu),
    "HardSigmoid": rounded_once(hard_sigmoid),
    "HardSwish": rounded_once(hard_swish),
    "LeakyRelu": rounded_once(leaky_relu),
    "Mish": rounded_once(mish),
    "PRelu": rounded_once(prelu),
    "Relu": rounded_once(relu),
    "Selu": rounded_once(selu),
    "Shrink": rounded_once(shrink),
    "Sigmoid": rounded_once(sigmoid),
    "Softplus": rounded_once(softplus),
    "Softsign": rounded_once(softsign),
    "ThresholdedRelu": rounded_once(thresholded_relu),
}
