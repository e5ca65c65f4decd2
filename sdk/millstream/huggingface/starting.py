"""What the states of a model are before its first token: tried, for no model says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from millstream.errors import NotStreamable
from millstream.huggingface.calling import Calling, call
from millstream.huggingface.states import Found
from millstream.huggingface.stepping import CausalStep

#: Besides zero: the maximum of an empty set, as recurrences with a running maximum keep it, and one.
_STARTS = (-1e30, -1e38, 1.0)
#: Any window holds one token.
_WINDOW = 4


def started(found: Found, calling: Calling, model: nn.Module) -> Found:
    """The states with initial values from which a step gives what the model gives for its first token.

    Raises NotStreamable when none of the values tried does.
    """
    token = torch.ones(1, 1, dtype=torch.int64)
    wanted, _ = call(calling, model, token, torch.zeros_like(token), None)

    def works(fixed: Mapping[str, Tensor]) -> bool:
        step = CausalStep(model, calling, replace(found, fixed=fixed), _WINDOW if found.growing else None)
        got = step.step(token[:, 0], step.initial_state(1))[0]
        return torch.allclose(got, wanted[:, 0], 1e-4, 1e-5)

    if works(found.fixed):
        return found
    for path, zero in found.fixed.items():
        for start in _STARTS:
            tried = {**found.fixed, path: torch.full_like(zero, start)}
            if works(tried):
                return replace(found, fixed=tried)
    raise NotStreamable(
        "no initial state gives what the model gives for its first token",
        why=f"tried zeros, and {', '.join(map(str, _STARTS))} for each of {', '.join(found.fixed)}",
        fix="write step(x, state) and initial_state(batch) for this model",
    )
