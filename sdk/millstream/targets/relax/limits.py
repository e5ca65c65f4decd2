"""What TVM takes without a word and computes wrongly, or fails at only when it runs: refused here.

Every entry stands for official ONNX cases that came out wrong, or for settings that came out otherwise than
in the reference. `tests/backends/test_relax_operators.py` runs the cases that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnx.helper

from millstream.graph import Tensor, attributes
from millstream_runtime.spec import DTYPES

Types = Mapping[str, Tensor]
Constants = Mapping[str, np.ndarray]

#: Axes of a batch of volumes with channels.
_VOLUME = 5
#: What TVM's sort takes.
_SORTED = ("float32", "float64", "float16", "int32", "int64", "uint8", "int8")


def limit(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    """Why a node may not be given to TVM, or an empty text. `types` holds values of known shape."""
    for name in filter(None, (*node.input, *node.output)):
        if name not in types:
            return "a shape is only known at run time"
        if types[name].dtype.name not in DTYPES:
            return f"the dtype {types[name].dtype}"
    if _is_empty(types, node.input) and not _is_empty(types, node.output):
        return "TVM makes something of a tensor without elements that is not there"
    find = _LIMITS.get(node.op_type)
    return find(node, types, constants) if find else ""


def _is_empty(types: Types, names: Sequence[str]) -> bool:
    """Whether the first of the tensors has no elements."""
    return any(0 in types[name].shape for name in names[:1] if name)


def _is_inf(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    one_sided = 0 in attributes(node).values()
    return "TVM finds both infinities, whichever is asked for" if one_sided else ""


def _bit_shift(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    signed = types[node.input[0]].dtype.kind == "i"
    return "a shift of signed integers" if signed else ""


def _mod(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    floats = types[node.input[0]].dtype.kind == "f"
    return "TVM makes NaN of a remainder by infinity" if floats and not attributes(node).get("fmod") else ""


def _conv_transpose(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    return "TVM passes over output_shape" if "output_shape" in attributes(node) else ""


def _layer_normalization(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    return "TVM gives no mean and no deviation" if any(node.output[1:]) else ""


def _dropout(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    mask, training = any(node.output[1:]), any(node.input[2:])
    return "TVM gives no mask, and knows no training" if mask or training else ""


def _top_k(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    dtype = types[node.input[0]].dtype.name
    return "" if dtype in _SORTED else f"TVM cannot sort {dtype}"


def _resize(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    given = attributes(node)
    before, after = (np.array(types[name].shape, np.float32) for name in (node.input[0], node.output[0]))
    scales = constants.get("".join(node.input[2:3]), np.empty(0))
    if given.get("antialias"):
        return "TVM passes over antialias"
    if "axes" in given or given.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        return "TVM resizes all axes to given sizes only"
    if (before[:2] != after[:2]).any():
        return "TVM resizes from the third axis on"
    if scales.size and (before * scales != after).any():
        return "TVM takes the ratio of the sizes for the scale, and here it is another"
    cropped = given.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
    if before.size == _VOLUME and (cropped or given.get("exclude_outside")):
        return "TVM passes over tf_crop_and_resize and exclude_outside in three dimensions"
    return ""


_LIMITS: dict[str, Callable[[onnx.NodeProto, Types, Constants], str]] = {
    "BitShift": _bit_shift,
    "ConvTranspose": _conv_transpose,
    "Dropout": _dropout,
    "IsInf": _is_inf,
    "LayerNormalization": _layer_normalization,
    "Mod": _mod,
    "Resize": _resize,
    "TopK": _top_k,
}
