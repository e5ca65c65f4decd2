"""Loops in an order that LLVM can turn into vectors.

TVM writes a product with its sum innermost: one long chain of additions, which floats may not reorder. With
the sums outside the last axis of the result, neighbouring results grow together, each in its own lane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.ir import IRModule

_ROOT = "root"
#: Fewer results than this do not fill a vector.
_MIN_LANES = 4
#: Kinds of iteration in TVM's numbering.
_SPATIAL, _REDUCTION = 0, 2


def schedule(module: IRModule) -> IRModule:
    """The module with the loops of every sum reordered where that helps."""
    from tvm.s_tir import Schedule
    from tvm.tirx import PrimFunc

    for name, function in module.functions_items():
        if isinstance(function, PrimFunc) and _has_loops(function):
            plan = Schedule(function)
            _reorder_sums(plan)
            module[name] = plan.mod["main"]
    return module


def _has_loops(function: Any) -> bool:
    """Whether TVM wrote the function as loops, and not as a call of a library."""
    return getattr(getattr(function.body, "block", None), "name_hint", "") == _ROOT


def _reorder_sums(plan: Any) -> None:
    """Change the loops of each block of a `Schedule` that has a sum and enough results beside each other."""
    for block in plan.get_child_blocks(plan.get_sblock(_ROOT)):
        loops, stmt = plan.get_loops(block), plan.get(block)
        kinds = [axis.iter_type for axis in stmt.iter_vars]
        if len(loops) != len(kinds) or set(kinds) != {_SPATIAL, _REDUCTION}:
            continue
        sums = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _REDUCTION]
        lanes = max(place for place, kind in enumerate(kinds) if kind == _SPATIAL)
        if plan.get(loops[lanes]).extent >= _MIN_LANES and _is_read_along(stmt, stmt.iter_vars[lanes].var):
            plan.reorder(*sums, loops[lanes])
            plan.decompose_reduction(block, sums[0])


def _is_read_along(block: Any, axis: Any) -> bool:
    """Whether an operand has neighbouring elements at neighbouring places of the axis."""
    from tvm.sym import detect_linear_equation

    last = [region.region[-1].min for region in block.reads if len(region.region)]
    steps = [detect_linear_equation(index, [axis]) for index in last]
    return any(len(step) and int(step[0]) == 1 for step in steps)
