"""The fused steps of the systems, compiled: what Numba, TVM and a C compiler make of every coarse
operation.
"""

from __future__ import annotations

import pytest
from backend_programs import Case, Opener, run
from system_steps import agree, lowered, ticks

#: One system for each coarse operation, and one for each shape in which it is used.
COMPILED = ("gla", "mamba", "gated_deltanet", "rwkv7", "s4d", "mlstm", "jamba", "sinks")


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_step_is_the_step(opener: Opener, name: str) -> None:
    program = lowered(name)
    for frame, state, output, after in ticks(name)[-2:]:
        states = tuple(value.reshape(1, -1) for value in state.values())
        case = Case(program.program, program.weights, (frame.reshape(1, -1),), states)
        outputs, following = run(opener, case)
        agree(name, outputs[0], following, output, after)
