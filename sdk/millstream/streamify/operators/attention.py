"""Scaled dot-product attention over time: keys and values in a ring of the last frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from millstream.streamify.operators.local import align, local
from millstream.streamify.operators.windows import Window, own_axis, pad
from millstream.streamify.planner import Call, Planner, shapes
from millstream.streamify.refusal import Stuck
from millstream.streamify.tick import Tick, window
from millstream.streamify.timing import Constant, Kind, Series, Table

_ABSENT = Window(0, left=1, right=1)


@dataclass(frozen=True)
class Band:
    """What is added to a score: `bias[i]` for the key at query + ahead - i, minus infinity elsewhere."""

    bias: Tensor
    ahead: int

    @property
    def length(self) -> int:
        """Keys that a query may see."""
        return len(self.bias)


def attention(planner: Planner, call: Call) -> Kind:
    """scaled_dot_product_attention(query, key, value) over the time axis, causal or within a band.

    Raises Stuck when a query may see all frames, or all earlier frames and no window was given.
    """
    names = ["query", "key", "value"]
    kinds = {call[n].name: planner.kinds[call[n].name] for n in names}
    value = planner.results[call["query"].name]
    axes = {k.axis for k in kinds.values() if isinstance(k, Series)}
    if axes != {value.dim() - 2} or not all(isinstance(k, Series) for k in kinds.values()):
        return local(planner, call)
    for kind in kinds.values():
        own_axis(kind)
    band = _band(planner, call)
    at, aligned = align(planner, kinds, call)
    series = next(iter(aligned.values()))
    past = band.length - 1
    rings = {n: planner.ring(f"{call.name}.{n}", call[n].name, series, past) for n in names[1:]}
    waiting = planner.ring(f"{call.name}.query", call["query"].name, series, band.ahead)
    bias_name = f"{call.name}.bias"
    planner.constants[bias_name] = _scores(band, series.count)
    queries = replace(series, delay=series.delay + band.ahead)
    scale, grouped, time = call["scale"], bool(call["enable_gqa"]), series.axis

    def run(tick: Tick) -> Tensor:
        query = tick.values[at[call["query"].name]]
        if band.ahead:
            query = window(tick, waiting, query, series, band.ahead).narrow(time, 0, series.count)
        # What is not there may be anything, and a weight of zero must not meet a NaN.
        keys, values = (
            window(tick, rings[n], pad(tick, tick.values[at[call[n].name]], series, _ABSENT), series, past)
            for n in names[1:]
        )
        mask = _mask(tick, series, past, tick.values[bias_name], value.dim())
        return functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=scale, enable_gqa=grouped
        )

    planner.emit(call.name, run)
    return replace(planner.series(shapes(call.twins)), delay=queries.delay)


def _scores(band: Band, count: int) -> Tensor:
    """The band as (queries, keys) for a block: keys run from `length - 1` before the block's first on."""
    width = band.length - 1 + count
    scores = torch.full((count, width), -math.inf)
    for query in range(count):
        # The query of row i is i - ahead of the block; its newest key is then i of the block.
        newest = band.length - 1 + query
        scores[query, newest - band.length + 1 : newest + 1] = band.bias.flip(0)
    return scores


def _mask(tick: Tick, series: Series, past: int, scores: Tensor, rank: int) -> Tensor:
    """Scores to add, with the keys before the first and behind the last frame shut out."""
    index = tick.index(series)[:, :1] - past + torch.arange(past + series.count)
    shut = index < 0
    limit = series.count + series.delay + series.offset
    if not tick.simulated and series.count * (1 + tick.look_ahead) - 1 >= limit:
        tick.read.add("clock.drained")
        places = torch.arange(past + series.count) - past
        shut = shut | (tick.drained[:, None] * series.count + places >= limit)
    added = torch.where(shut[:, None], torch.full((), -1e30), scores)
    added = added.clamp(min=-1e30)
    if series.batch is None:
        return added[0]
    return added.reshape(-1, *([1] * (rank - 3)), series.count, past + series.count)


def _band(planner: Planner, call: Call) -> Band:
    """Which frames a query may see. Raises Stuck."""
    mask: Any = call["attn_mask"]
    length = planner.results[call["query"].name].shape[-2]
    if mask is None and not call["is_causal"]:
        raise Stuck(
            "attention that sees the whole sequence",
            "use is_causal=True with a window, or a windowed mask",
        )
    if mask is None:
        return _causal(planner, call, torch.zeros(length))
    if not isinstance(planner.kinds[mask.name], (Table, Constant)):
        raise Stuck("an attention mask that depends on the frames", "use a mask of distances alone")
    short, long = _distances(planner.results[mask.name]), _distances(planner.longer[mask.name])
    ahead, back = _reach(short), _reach(long)
    if ahead[0] != back[0]:
        raise Stuck(
            "attention that sees all later frames", "use is_causal=True with a window, or a windowed mask"
        )
    if ahead[1] != back[1]:
        return _causal(planner, call, short[len(short) // 2 :], ahead[0])
    middle = len(short) // 2
    return Band(short[middle - ahead[0] : middle + ahead[1] + 1].clone(), ahead[0])


def _causal(planner: Planner, call: Call, back: Tensor, ahead: int = 0) -> Band:
    """All earlier frames, cut to the window that the user gave."""
    if planner.window is None:
        raise Stuck(
            "attention that sees all earlier frames, more with every frame",
            "say how many frames it may keep: window=N (--window N); the sequence form is then banded too",
        )
    if ahead or bool((back != 0).any()):
        raise Stuck("unbounded attention with a bias", "bound it by a windowed mask")
    return Band(torch.zeros(planner.window), 0)


def _distances(mask: Tensor) -> Tensor:
    """What a mask (..., T, T) adds to the score at each distance query - key, from -(T - 1) to T - 1.

    Raises Stuck when it is not the same everywhere.
    """
    added = torch.where(mask, 0.0, -math.inf) if mask.dtype == torch.bool else mask.float()
    flat = added.reshape(-1, *added.shape[-2:])
    size = flat.shape[-1]
    if flat.shape[-2] != size or bool((flat != flat[:1]).any()):
        raise Stuck("a mask that differs between heads or streams", "use one mask of distances")
    table, places = flat[0], torch.arange(size)
    distance = places[:, None] - places[None] + size - 1
    found = torch.empty(2 * size - 1)
    found[distance.flatten()] = table.flatten()
    if not torch.equal(found[distance], table):
        raise Stuck("a mask that is not a function of the distance", "use one mask of distances")
    found[found < -1e4] = -math.inf
    return found


def _reach(distances: Tensor) -> tuple[int, int]:
    """How many frames ahead and back are seen."""
    middle = len(distances) // 2
    seen = torch.nonzero(distances > -math.inf).flatten()
    if not len(seen):
        raise Stuck("a mask that shuts everything out", "let a frame see itself at least")
    return middle - int(seen[0]), int(seen[-1]) - middle
