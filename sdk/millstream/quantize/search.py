"""Which product to quantize how, so that the step becomes as small as a budget allows.

Sensitivity first: every product is tried alone in every format. Then, the smallest format first, as many
products take it as the budget bears, the least sensitive for the bytes that they save before the others; the
rest try the next format. How many fit is found by halving, on the real metric and with all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Named(Protocol):
    """What a product may be given: a format, or a width."""

    @property
    def name(self) -> str:
        """Tells it from the others."""
        ...


F = TypeVar("F", bound=Named)


@dataclass(frozen=True)
class Loss:
    """What a mix costs: `metric` is held against the budget, `error` (relative RMS) tells equals apart."""

    metric: float
    error: float


@dataclass(frozen=True)
class Trial:
    """A mix that was measured: the name of each product's format, its loss, and the bytes of all weights."""

    formats: Mapping[str, str]
    loss: Loss
    bytes: int


@dataclass(frozen=True)
class Found(Generic[F]):
    """The smallest mix within the budget, by the output of a product, and every mix that was measured.

    What the best mix does not name stays as it is; it is None when no mix keeps within the budget.
    """

    best: Mapping[str, F] | None
    trials: tuple[Trial, ...]

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other beats in both bytes and loss, the smallest first."""
        kept: list[Trial] = []
        for trial in sorted(self.trials, key=_smallest):
            if not kept or trial.loss.metric < kept[-1].loss.metric:
                kept.append(trial)
        return tuple(kept)


def _smallest(trial: Trial) -> tuple[int, float, float]:
    return trial.bytes, trial.loss.metric, trial.loss.error


@dataclass(frozen=True)
class Weighed:
    """A product: its output, and the bytes of its weight in each format and in float (under the name "")."""

    output: str
    bytes: Mapping[str, int]


def search(
    products: Sequence[Weighed],
    formats: Sequence[F],
    measure: Callable[[Mapping[str, F]], Loss],
    budget: float,
    progress: Callable[[str], None],
    known: Sequence[Trial] = (),
    keep: Callable[[Trial], None] = lambda trial: None,
) -> Found[F]:
    """Find a mix whose metric loses no more than `budget`; `formats` stand the smallest first.

    `measure` is asked for a mix once, and not for those that are `known`. `progress` is told what is tried,
    `keep` what was measured.
    """
    return _Search(products, measure, budget, progress, known, keep).run(formats)


class _Search(Generic[F]):
    def __init__(
        self,
        products: Sequence[Weighed],
        measure: Callable[[Mapping[str, F]], Loss],
        budget: float,
        progress: Callable[[str], None],
        known: Sequence[Trial],
        keep: Callable[[Trial], None],
    ) -> None:
        self._products = {product.output: product for product in products}
        self._measure = measure
        self._budget = budget
        self._progress = progress
        self._trials = {frozenset(trial.formats.items()): trial for trial in known}
        self._keep = keep

    def run(self, formats: Sequence[F]) -> Found[F]:
        chosen: dict[str, F] = {}
        for format in formats:
            rest = [output for output in self._products if output not in chosen]
            order = sorted(rest, key=lambda output, f=format: self._cost(output, f))
            count = self._most(chosen, order, format)
            chosen.update(dict.fromkeys(order[:count], format))
        names = {format.name: format for format in formats}
        trials = tuple(
            trial for trial in self._trials.values() if names.keys() >= set(trial.formats.values())
        )
        within = [trial for trial in trials if trial.loss.metric <= self._budget]
        best = min(within, key=_smallest, default=None)
        return Found(best and {output: names[name] for output, name in best.formats.items()}, trials)

    def _cost(self, output: str, format: F) -> float:
        """Error for each byte saved when the product alone is quantized."""
        sizes = self._products[output].bytes
        self._progress(f"{format.name} of {output}")
        return self._trial({output: format}).loss.error / max(sizes[""] - sizes[format.name], 1)

    def _most(self, chosen: Mapping[str, F], order: Sequence[str], format: F) -> int:
        """How many of the products, in order, may take the format beside what is chosen."""
        fits, fails = 0, len(order) + 1
        count = len(order)
        while fails - fits > 1:
            self._progress(f"{format.name} of {count} products together")
            mix = {**chosen, **dict.fromkeys(order[:count], format)}
            if self._trial(mix).loss.metric <= self._budget:
                fits = count
            else:
                fails = count
            count = (fits + fails) // 2
        return fits

    def _trial(self, choices: Mapping[str, F]) -> Trial:
        key = frozenset((output, format.name) for output, format in choices.items())
        if key not in self._trials:
            names = dict(sorted(key))
            size = sum(p.bytes[names.get(output, "")] for output, p in self._products.items())
            self._trials[key] = Trial(names, self._measure(choices), size)
            self._keep(self._trials[key])
        return self._trials[key]
