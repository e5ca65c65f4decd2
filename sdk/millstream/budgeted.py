"""The smallest mix of formats whose loss on the user's own data stays within a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from millstream.errors import BudgetMissed, UsageError
from millstream.graph import StepGraph, initializers, origin
from millstream.prove_quantized import last_outputs
from millstream.quantize import FORMATS, Format, flattened
from millstream.quantize.calibration import Calibration
from millstream.quantize.error import relative_errors
from millstream.quantize.formats import rounded_once
from millstream.quantize.mixed import mixed
from millstream.quantize.product import Product, find
from millstream.quantize.search import Choices, Found, Loss, Trial, Weighed, search
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
    found: Found
    metric: str
    origins: dict[str, str]
    exact_bytes: int
    timed: Timed

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report: the front, what was tried, and the format of each product by its
        origin."""
        pairs = list(zip(self.found.front, self.timed.front, strict=True))
        front = [{**_trial(trial), "microseconds": time} for trial, time in pairs]
        formats = {output: choice.name for output, choice in (self.found.best or {}).items()}
        return {
            "metric": self.metric,
            "target": self.timed.target,
            "front": front,
            "tried": [_trial(trial) for trial in self.found.trials],
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
            fix="export with --quantize, or search other formats",
        )
    flat = flattened(graph)
    products, _ = find(flat)
    outputs = [tensor.name for tensor in flat.outputs]
    tested = labelled if labelled is not None and labelled.labels.size else None
    exact = last_outputs(core_of(flat), tested.frames) if tested else None

    def measure(choices: Choices) -> Loss:
        made = mixed(choices).rewrite(flat, products, calibration)
        if tested is None or exact is None:
            error = max(relative_errors(flat, made, outputs, calibration).values())
            return Loss(error, error)
        got = last_outputs(core_of(made), tested.frames)
        return Loss(_accuracy(exact, tested) - _accuracy(got, tested), _relative(got, exact))

    formats = [rounded_once(format, flat, products, calibration) for format in allowance.formats]
    weighed = [_weighed(product, flat, formats) for product in products]
    data = (*calibration.sequences, *(tested.frames if tested else ()), *([tested.labels] if tested else ()))
    kept = TrialFile(allowance.trials, identity(flat, data))
    known = kept.trials
    found = search(weighed, formats, measure, allowance.most_lost, progress, known, kept.add)
    metric = "accuracy lost" if tested else "relative RMS error of the outputs"
    if found.best is None:
        raise BudgetMissed(
            f"no product can be quantized with at most {allowance.most_lost:g} of {metric}",
            why=_closest(found, metric),
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
    return Chosen(format, found, metric, {p.output: origin(p.node) for p in products}, exact_bytes, timed)


def _written(trial: Trial, formats: Sequence[Format]) -> Format:
    """The format of a trial."""
    ways = {format.name: format for format in formats}
    return mixed({output: ways[name] for output, name in trial.formats.items()})


def _weighed(product: Product, flat: StepGraph, formats: Sequence[Format]) -> Weighed:
    count = initializers(flat.model)[product.weight].size
    ways = {format.name: format.of(product) or format for format in formats}
    sizes = {name: int(count * way.bits / 8) for name, way in ways.items()}
    return Weighed(product.output, {"": count * _FLOAT_BITS // 8, **sizes})


def _closest(found: Found, metric: str) -> str:
    if not found.trials:
        return "it has no products that are worth it"
    least = min(found.trials, key=lambda trial: trial.loss.metric)
    (output, name), *more = least.formats.items()
    which = f"{name} of {output} alone" if not more else f"{len(least.formats)} products"
    return f"the closest is {which}: {least.loss.metric:.3g} of {metric}"


def _trial(trial: Trial) -> dict[str, Any]:
    counts = {name: list(trial.formats.values()).count(name) for name in sorted(set(trial.formats.values()))}
    return {"bytes": trial.bytes, "lost": trial.loss.metric, "error": trial.loss.error, "products": counts}


def _accuracy(outputs: np.ndarray, data: Sequences) -> float:
    return float((outputs.argmax(1) == data.labels).mean())


def _relative(got: np.ndarray, want: np.ndarray) -> float:
    size = float(np.square(want, dtype=np.float64).sum())
    gap = float(np.square(got - want, dtype=np.float64).sum())
    return (gap / size) ** 0.5 if size else float(bool(gap))
