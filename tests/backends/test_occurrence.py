"""Stages that do the same to other memory are one function, and that function may be used anywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from backend_programs import (
    Case,
    F,
    Opener,
    Weights,
    differences,
    expected,
    load,
    lookup,
    matrix_vector,
    run,
)

from millstream.targets.tvm.levels import ANY
from millstream.targets.tvm.script import print_programs
from millstream_runtime.occurrence import Occurrence, Place, occurrence
from millstream_runtime.program import (
    Access,
    Accumulated,
    Buffer,
    Call,
    Constant,
    Load,
    Program,
    Reduction,
    Stage,
)


def _layers(count: int, width: int) -> Case:
    """Layers v = w / 2, w = v * v[3] + start: every v lies in one slot of scratch, every w in another."""
    weights, stages = Weights(), []
    weights.add("start", np.linspace(-1, 1, width).astype(F))
    names = ["x", *(f"{kind}{number}" for number in range(count) for kind in "vw")]
    for number in range(count):
        before, v, w = names[2 * number : 2 * number + 3]
        half = Call("multiply", (load(before), Constant(0.5, F)), F)
        product = Call("multiply", (load(v), Load(Access(v, 3, (0,)), F)), F)
        value = Call("add", (product, load("start")), F)
        stages += [
            Stage(f"half {number}", (width,), None, half, Access(v, 0, (1,))),
            Stage(f"product {number}", (width,), None, value, Access(w, 0, (1,))),
        ]
    stages.append(Stage("last", (width,), None, load(names[-1]), Access("y", 0, (1,))))
    scratch = [Buffer(name, "scratch", F, width, 4 * width * (name[0] == "w")) for name in names[1:]]
    ends = [Buffer("x", "input", F, width), Buffer("y", "output", F, width)]
    program = Program((*ends, *scratch, *weights.buffers), tuple(stages), 8 * width, len(weights.blob))
    return Case(program, weights.blob, (np.random.default_rng(0).standard_normal((2, width)).astype(F),))


def _occurrences(case: Case) -> list[Occurrence]:
    buffers = {buffer.name: buffer for buffer in case.program.buffers}
    return [occurrence([stage], buffers) for stage in case.program.stages]


@pytest.mark.parametrize("width", [16, 37, 2048])
def test_memory_that_is_used_again_by_stages_that_know_it_by_other_names(opener: Opener, width: int) -> None:
    case = _layers(4, width)
    assert differences(case, run(opener, case)[0], expected(case)[0], 1e-6) == []


def test_stages_of_one_shape_are_printed_once() -> None:
    case = _layers(4, 16)
    assert len({stage.shape for stage in _occurrences(case)}) == 3
    text = print_programs({"step": case.program}, ANY)
    assert text.count("def stage") == 3
    assert text.count("Module.stage") == 9


def test_an_operand_begins_at_the_lowest_element_that_is_reached() -> None:
    backwards = Load(Access("x", 19, (-4, -1)), F)
    row = Load(Access("table", 3, (1,), (lookup("pick", 5, 4),)), F)
    value = Call("add", (Accumulated(F), row), F)
    stage = Stage("s", (3,), Reduction("sum", (4,), backwards), value, Access("y", 2, (2,)))
    buffers = (
        Buffer("x", "input", F, 20),
        Buffer("table", "constant", F, 25),
        Buffer("pick", "input", "int64", 1),
        Buffer("y", "output", F, 7),
    )
    found = occurrence([stage], {buffer.name: buffer for buffer in buffers})
    assert found.places == (Place("x", 8), Place("table", 3), Place("pick", 0), Place("y", 2))
    assert [operand.reach for operand in found.shape.operands] == [12, 19, 1, 5]
    assert [operand.is_constant for operand in found.shape.operands] == [False, True, False, False]
    assert found.shape.stages[0].target == Access("b3", 0, (2,))


def test_a_shape_knows_which_operands_are_the_same_buffer_and_which_are_constant() -> None:
    product = matrix_vector("w", "x", "y", 8, 8, False)
    buffers = {
        name: Buffer(name, role, F, 64)
        for name, role in [("w", "constant"), ("w.bias", "constant"), ("x", "scratch"), ("y", "scratch")]
    }
    one = occurrence([product], buffers).shape
    variable = {**buffers, "w": replace(buffers["w"], role="scratch")}
    assert occurrence([product], variable).shape != one
    same = {**buffers, "x2": buffers["x"], "w2": buffers["w"]}
    assert occurrence([matrix_vector("w", "x2", "y", 8, 8, False)], same).shape == one
    assert occurrence([matrix_vector("w", "w.bias", "y", 8, 8, False)], same).shape != one
