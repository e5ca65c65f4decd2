"""The smallest mix of formats whose loss on the user's own data stays within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millstream.errors import BudgetMissed, UsageError
from millstream.graph import StepGraph, initializers, origin
from millstream.losses import Losses
from millstream.quantize import FORMATS, Format, flattened
from millstream.quantize.calibration import Calibration
from millstream.quantize.formats import rounded_once
from millstream.quantize.mixed import mixed
from millstream.quantize.moving import moving
from millstream.quantize.product import Product, find
from millstream.quantize.search import Found, Loss, Trial, Weighed, search
from millstream.quantize.trials import TrialFile, identity
from millstream.sequences import Sequences
from millstream_runtime.core import Core

_FLOAT_BITS = 32


@dataclass(frozen=True)
class Allowance:
    """What may be lost: accuracy on labelled data (0.005 is half a point), without labels the relative RMS
    error of the outputs. `formats` are tried in this order, the smallest first. With `trials`, a file, what
    was measured is kept there, and what stands there is not measured again."""

    most_lost: float
    formats: tuple[Format, ...] = (FORMATS["w4a8"], FORMATS["w8a8"])
    trials: str | None = None


@dataclass(frozen=True)
class Timer:
    """Says how long a step takes here, compiled for `target`, in microseconds."""

    target: str
    microseconds: Callable[[StepGraph], float]


@dataclass(frozen=True)
class Timed:
    """What steps take here, compiled for `target`, in microseconds: those of the trials on the front, in its
    order, and that of the float step."""

    target: str
    front: tuple[float, ...]
    exact: float


@dataclass(frozen=True)
class Chosen:
    """The format that a search found, and what it measured; `exact_bytes` are those of the float products."""

    format: Format
    found: Found[Format]
    metric: str
    origins: dict[str, str]
    exact_bytes: int
    timed: Timed

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report: the front, what was tried, and the format of each product by its
        origin."""
        pairs = list(zip(self.found.front, self.timed.front, strict=True))
        front = [{**plain(trial), "microseconds": time} for trial, time in pairs]
        formats = {output: choice.name for output, choice in (self.found.best or {}).items()}
        return {
            "metric": self.metric,
            "target": self.timed.target,
            "front": front,
            "tried": [plain(trial) for trial in self.found.trials],
            "float": {"bytes": self.exact_bytes, "microseconds": self.timed.exact},
            "chosen": next(
                told for told, (one, _) in zip(front, pairs, strict=True) if one.formats == formats
            ),
            "formats": {self.origins[output] or output: name for output, name in formats.items()},
        }


def choose(
    graph: StepGraph,
    core_of: Callable[[StepGraph], Core],
    timer: Timer,
    calibration: Calibration,
    labelled: Sequences | None,
    allowance: Allowance,
    progress: Callable[[str], None],
) -> Chosen:
    """Search the products of a float step graph; `core_of` opens a graph under the reference, `timer` says
    how long a step takes.

    Raises BudgetMissed with the best that there is when no product can be quantized within the allowance,
    UsageError for a format that takes the whole step; UsageError, DataInvalid or WriteFailed for a file of
    trials that does not fit.
    """
    whole = [format.name for format in allowance.formats if format.whole]
    if whole:
        raise UsageError(
            f"{', '.join(whole)} takes the whole step and cannot be mixed",
            fix="search it alone, or search other formats",
        )
    flat = flattened(graph)
    products, _ = moving(flat, find(flat)[0], calibration)
    losses = Losses(flat, core_of, calibration, labelled)

    def measure(choices: Mapping[str, Format]) -> Loss:
        return losses.of(mixed(choices).rewrite(flat, products, calibration))

    formats = [rounded_once(format, flat, products, calibration) for format in allowance.formats]
    weighed = [_weighed(product, flat, formats) for product in products]
    kept = TrialFile(allowance.trials, identity(flat, losses.data))
    known = kept.trials
    found = search(weighed, formats, measure, allowance.most_lost, progress, known, kept.add)
    if found.best is None:
        raise BudgetMissed(
            f"no product can be quantized with at most {allowance.most_lost:g} of {losses.metric}",
            why=closest(found.trials, losses.metric),
            fix="allow more, or export in float",
        )
    ways = {each.name: each for each in allowance.formats}
    format = mixed({output: ways[choice.name] for output, choice in found.best.items()})
    progress("timing the front")
    front = tuple(
        timer.microseconds(_written(trial, formats).rewrite(flat, products, calibration))
        for trial in found.front
    )
    timed = Timed(timer.target, front, timer.microseconds(flat))
    exact_bytes = sum(product.bytes[""] for product in weighed)
    return Chosen(
        format, found, losses.metric, {p.output: origin(p.node) for p in products}, exact_bytes, timed
    )


def _written(trial: Trial, formats: Sequence[Format]) -> Format:
    """The format of a trial."""
    ways = {format.name: format for format in formats}
    return mixed({output: ways[name] for output, name in trial.formats.items()})


def _weighed(product: Product, flat: StepGraph, formats: Sequence[Format]) -> Weighed:
    count = initializers(flat.model)[product.weight].size
    ways = {format.name: format.of(product) or format for format in formats}
    sizes = {name: int(count * way.bits / 8) for name, way in ways.items()}
    return Weighed(product.output, {"": count * _FLOAT_BITS // 8, **sizes})


def closest(trials: Sequence[Trial], metric: str) -> str:
    """The trial that came nearest to a budget that none kept, in words."""
    if not trials:
        return "it has no products that are worth it"
    least = min(trials, key=lambda trial: trial.loss.metric)
    (output, name), *more = least.formats.items()
    which = f"{name} of {output} alone" if not more else f"{len(least.formats)} products"
    return f"the closest is {which}: {least.loss.metric:.3g} of {metric}"


def plain(trial: Trial) -> dict[str, Any]:
    """A trial as reports tell it."""
    counts = {name: list(trial.formats.values()).count(name) for name in sorted(set(trial.formats.values()))}
    return {"bytes": trial.bytes, "lost": trial.loss.metric, "error": trial.loss.error, "products": counts}
