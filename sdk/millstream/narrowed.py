"""The narrowest fixed-point step whose loss on the user's own data stays within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from millstream.budgeted import Allowance, closest, plain
from millstream.errors import BudgetMissed
from millstream.graph import StepGraph
from millstream.losses import Losses
from millstream.quantize import FORMATS, Format, flattened
from millstream.quantize.calibration import Calibration
from millstream.quantize.error import relative_errors
from millstream.quantize.fixed_point.narrowing import Narrowable, narrowables, widths
from millstream.quantize.fixed_point.rewrite import ready, written
from millstream.quantize.fixed_point.widths import WORD, Widths
from millstream.quantize.recurrence import LONG, without_reset
from millstream.quantize.search import Found, Loss, Weighed, search
from millstream.quantize.trials import TrialFile, identity
from millstream.sequences import Sequences
from millstream_runtime.core import Core

#: Relative RMS error that no output and no state of a narrowed step may pass, whatever the budget: farther
#: off it is another model.
MOST_ERROR = 0.25
#: Loss of a step that passes it: everything.
_ALL = 1.0


@dataclass(frozen=True)
class Width:
    """Bits that values or constants may have."""

    bits: int

    @property
    def name(self) -> str:
        """As reports tell it."""
        return f"{self.bits} bits"


#: What is tried, the narrowest first.
TRIED = tuple(Width(bits) for bits in (3, 4, 5, 6, 7, 8, 10, 12))


@dataclass(frozen=True)
class Narrowed:
    """The format that writes the step in the widths that a search found, and what it measured; `words` are
    the bytes of all operands in 16 bits."""

    format: Format
    found: Found[Width]
    metric: str
    words: int
    widths: Widths

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report: the front, what was tried, and the widths that were taken."""
        best = {output: width.name for output, width in (self.found.best or {}).items()}
        return {
            "metric": self.metric,
            "front": [plain(trial) for trial in self.found.front],
            "tried": [plain(trial) for trial in self.found.trials],
            "words": {"bytes": self.words},
            "chosen": next(plain(trial) for trial in self.found.trials if trial.formats == best),
            "widths": {"values": dict(self.widths.values), "constants": dict(self.widths.constants)},
        }


def narrow(
    graph: StepGraph,
    core_of: Callable[[StepGraph], Core],
    calibration: Calibration,
    labelled: Sequences | None,
    allowance: Allowance,
    progress: Callable[[str], None],
) -> Narrowed:
    """Search the widths of a float step graph in fixed point; `core_of` opens a graph under the reference.

    Raises UnsupportedOperators when it has no fixed-point form; BudgetMissed when nothing can be narrowed
    within the allowance; UsageError, DataInvalid or WriteFailed for a file of trials that does not fit.
    """
    flat = flattened(graph)
    form = ready(flat, calibration)
    losses = Losses(flat, core_of, calibration, labelled)
    parts = {str(part): part for part in narrowables(form)}

    def chosen(choices: Mapping[str, Width]) -> Widths:
        return widths({parts[name]: width.bits for name, width in choices.items()})

    def measure(choices: Mapping[str, Width]) -> Loss:
        made = written(form, chosen(choices))
        loss = losses.of(made)
        within = loss.metric > allowance.most_lost or _farthest(flat, made, calibration) <= MOST_ERROR
        return loss if within else replace(loss, metric=_ALL)

    weighed = [_weighed(part) for part in parts.values()]
    kept = TrialFile(allowance.trials, identity(flat, losses.data))
    found = search(weighed, TRIED, measure, allowance.most_lost, progress, kept.trials, kept.add)
    if found.best is None:
        raise BudgetMissed(
            f"nothing can be narrowed with at most {allowance.most_lost:g} of {losses.metric}",
            why=closest(found.trials, losses.metric),
            fix="allow more, or export with --quantize fixed16",
        )
    taken = chosen(found.best)
    format = replace(
        FORMATS["fixed16"],
        summary="the whole step on integers, as narrow as a search allows",
        write=lambda graph, products, calibration, rounding: written(ready(graph, calibration), taken),
        max_error=MOST_ERROR,
    )
    return Narrowed(format, found, losses.metric, sum(part.bytes[""] for part in weighed), taken)


def _farthest(flat: StepGraph, made: StepGraph, calibration: Calibration) -> float:
    """The largest relative error of an output over the example, and of a state over a long stream."""
    outputs = [tensor.name for tensor in flat.outputs]
    errors = relative_errors(flat, made, outputs, calibration)
    states = [pair.next_name for pair in flat.states]
    if states:
        errors |= relative_errors(flat, made, states, without_reset(calibration), LONG)
    return max(errors.values())


def _weighed(part: Narrowable) -> Weighed:
    sizes = {width.name: (part.operands * width.bits + 7) // 8 for width in TRIED}
    return Weighed(str(part), {"": part.operands * WORD // 8, **sizes})
