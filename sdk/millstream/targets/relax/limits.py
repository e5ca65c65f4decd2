"""What TVM takes without a word and computes wrongly, or fails at only when it runs: refused here.

Every entry stands for official ONNX cases that came out wrong; `tests/backends/test_relax_backend.py` runs
those cases that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper

from millstream.graph import Tensor
from millstream_runtime.spec import DTYPES

Types = Mapping[str, Tensor]
Constants = Mapping[str, np.ndarray]

#: What TVM's sort takes.
_SORTED = ("float32", "float64", "float16", "int32", "int64", "uint8", "int8")


def limit(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    """Why a node may not be given to TVM, or an empty text. `types` holds values of known shape."""
    read, made = [filter(None, names) for names in (node.input, node.output)]
    for name in (*read, *made):
        if name not in types:
            return "a shape is only known at run time"
        if types[name].dtype.name not in DTYPES:
            return f"the dtype {types[name].dtype}"
        if 0 in types[name].shape:
            return "TVM reads past the end of a tensor without elements"
    find = _LIMITS.get(node.op_type)
    return find(node, types, constants) if find else ""


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _is_inf(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    one_sided = 0 in _attributes(node).values()
    return "TVM finds both infinities, whichever is asked for" if one_sided else ""


def _conv_transpose(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    return "TVM passes over output_shape" if "output_shape" in _attributes(node) else ""


def _layer_normalization(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    return "TVM gives no mean and no deviation" if any(node.output[1:]) else ""


def _dropout(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    return "TVM gives no mask, and knows no training"


def _top_k(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    dtype = types[node.input[0]].dtype.name
    return "" if dtype in _SORTED else f"TVM cannot sort {dtype}"


def _resize(node: onnx.NodeProto, types: Types, constants: Constants) -> str:
    attributes = _attributes(node)
    if attributes.get("antialias"):
        return "TVM passes over antialias"
    if "axes" in attributes or attributes.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        return "TVM resizes all axes to given sizes only"
    scales = constants.get("".join(node.input[2:3]))
    if scales is not None and scales.size:
        before, after = (np.array(types[name].shape, np.float32) for name in (node.input[0], node.output[0]))
        if not np.array_equal(before * scales, after):
            return "TVM takes the ratio of the sizes for the scale, and here it is another"
    return ""


_LIMITS: dict[str, Callable[[onnx.NodeProto, Types, Constants], str]] = {
    "ConvTranspose": _conv_transpose,
    "Dropout": _dropout,
    "IsInf": _is_inf,
    "LayerNormalization": _layer_normalization,
    "Resize": _resize,
    "TopK": _top_k,
}
