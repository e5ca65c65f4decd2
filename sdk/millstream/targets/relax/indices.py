"""Indices made safe: TVM trusts them, and one that lies outside would read or write foreign memory."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper

from millstream.graph import attributes
from millstream.targets.relax.rewriting import Writer, rewrite

#: Operators whose second input counts places of their first.
INDEXED = ("Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND")


def bound(model: onnx.ModelProto) -> onnx.ModelProto:
    """Negative indices counted from the end, and those beyond an end taken for the last place there."""
    return rewrite(model, _replace)


def _replace(writer: Writer, node: onnx.NodeProto) -> None:
    if node.op_type not in INDEXED:
        writer.keep(node)
        return
    extent = _extent(writer, node)
    known = writer.constants.get(node.input[1])
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    if known is None:
        copy.input[1] = _bounded(writer, node.input[1], extent)
    else:
        copy.input[1] = writer.constant(np.clip(np.where(known < 0, known + extent, known), 0, extent - 1))
    writer.keep(copy)


def _extent(writer: Writer, node: onnx.NodeProto) -> np.ndarray:
    """How many places each index may choose from: one number, or one for each place of an index tuple."""
    shape, indices = writer.types[node.input[0]].shape, writer.types[node.input[1]]
    given = attributes(node)
    if node.op_type.endswith("ND"):
        first = given.get("batch_dims", 0)
        depth = indices.shape[-1] or 0
        return np.array(shape[first : first + depth], indices.dtype)
    return np.array(shape[given.get("axis", 0)], indices.dtype)


def _bounded(writer: Writer, indices: str, extent: np.ndarray) -> str:
    size, last = writer.constant(extent), writer.constant(extent - 1)
    zero = writer.constant(np.zeros((), extent.dtype))
    from_end = writer.node("Add", [indices, size])
    counted = writer.node("Where", [writer.node("Less", [indices, zero]), from_end, indices])
    return writer.node("Max", [writer.node("Min", [counted, last]), zero])
