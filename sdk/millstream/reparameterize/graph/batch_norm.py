"""A batch norm of the step: statistics that are constants, and so a scale and a shift."""

from __future__ import annotations

import numpy as np
import onnx

from millstream.reparameterize.graph.editing import View


def is_constant(view: View, node: onnx.NodeProto) -> bool:
    """Whether a node is a batch norm all of whose parameters are constants."""
    return node.op_type == "BatchNormalization" and all(name in view.constants for name in node.input[1:])


def affine(view: View, norm: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift, (channels,) each, in float64."""
    gamma, beta, mean, variance = (view.constants[name].astype(np.float64) for name in norm.input[1:])
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale
