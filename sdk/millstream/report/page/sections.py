"""The sections of the page, each from its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from millstream.report import Report, TargetFigures
from millstream.report.confusion import Confusion
from millstream.report.page import charts
from millstream.report.page.markup import escaped, mark, parts, section, table, tiles


def overview(report: Report) -> str:
    """The name, what made it, and a few large figures."""
    passed = sum(bool(rung.get("passed")) for rung in report.ladder)
    facts = [
        (f"{passed} of {len(report.ladder)}", "claims proved at export"),
        (f"{sum(room.weights for room in report.rooms):,}", "weights"),
        (f"{sum(room.state_bytes for room in report.rooms):,} B", "state of one stream"),
        (f"{report.bundle_bytes / 1000:,.0f} kB", f"bundle, {len(report.targets)} targets"),
    ]
    if report.latencies:
        fastest = min(report.latencies, key=lambda latency: latency.at(50.0))
        facts.insert(1, (f"{fastest.at(50.0):.1f} µs", f"median step here, {fastest.target}"))
    if report.confusion:
        facts.insert(1, (f"{report.confusion.accuracy:.2%}", "of the labelled sequences right"))
    meta = f"{report.path} · {report.producer} · identity {report.identity[:16]} · measured on {report.here}"
    return f'<h1>{escaped(report.model)}</h1><p class="meta">{escaped(meta)}</p>{tiles(facts)}'


def ladder(report: Report) -> str:
    """Each claim of the export with what was found."""
    rungs = "".join(
        f"<li>{mark(bool(rung.get('passed')))}<span>{escaped(rung.get('claim', ''))}"
        f"<small>{escaped(_found(rung))}</small></span></li>"
        for rung in report.ladder
    )
    note = "Each form of the model against the one before it, when the bundle was made."
    return section("The proof ladder", note, f'<ul class="rungs">{rungs}</ul>')


def _found(rung: dict[str, object]) -> str:
    difference, bound = rung.get("difference"), rung.get("bound")
    if isinstance(difference, int | float) and isinstance(bound, int | float):
        if not difference:
            return f"no difference; {rung.get('detail', '')}"
        return f"largest difference {difference:.1e}, allowed {bound:.1e}; {rung.get('detail', '')}"
    return str(rung.get("detail", ""))


def speed(report: Report) -> str:
    """The distribution of the time of a step."""
    if not report.latencies:
        return section("Time of a step", "No target of this bundle runs on this machine.")
    columns = ("target", "backend", "5 %", "median", "95 %", "99 %", "99.9 %", "largest")
    shown = (5.0, 50.0, 95.0, 99.0, 99.9, 100.0)
    rows = ((each.target, each.backend, *map(each.at, shown)) for each in report.latencies)
    note = (
        f"{sum(report.latencies[0].counts):,} steps of one stream in one thread, call and copies from Python "
        "included. Upright lines are medians; what is far slower stands in the last place."
    )
    return section("Time of a step here", note, charts.histograms(report.latencies), table(columns, rows))


def memory(report: Report) -> str:
    """Weights by module, states, and what each target takes."""
    weights = sorted(((room.path, room.weight_bytes) for room in report.rooms), key=lambda one: -one[1])
    shown = [*weights[:5], ("the rest", sum(size for _, size in weights[5:]))]
    states = [(name, size) for room in report.rooms for name, size in room.states.items()]
    scratch = [(target.target, target.memory.scratch) for target in report.targets]
    rows = ((name, size) for name, size in scratch)
    return section(
        "Memory",
        "Weights lie once in memory for all streams. Each stream has its states twice (a step reads one set "
        "and writes the other) and its scratch.",
        parts("Weights in step.onnx", shown),
        parts("State of one stream", states),
        "<h3>Scratch of one stream</h3>",
        table(("target", "bytes"), rows),
    )


def model(report: Report) -> str:
    """The modules."""
    rows = (
        (
            room.path,
            ", ".join(f"{name} × {n}" if n > 1 else name for name, n in room.operators.items()),
            room.weights,
            room.weight_bytes,
            ", ".join(f"{name} {size:,} B" for name, size in room.states.items()),
        )
        for room in report.rooms
    )
    note = "The modules of the model in the order of a step, as they stand in step.onnx."
    columns = ("module", "operators", "weights", "bytes", "states that it reads first")
    return section("The rooms of the model", note, table(columns, rows))


def drift(report: Report) -> str:
    """The states over a long stream."""
    rows = (
        (drift.target, max(drift.shares), *max(drift.largest.items(), key=lambda item: item[1]))
        for drift in report.drifts
    )
    note = (
        "The golden frames over and over without reset: the largest difference of any state from the "
        "reference, as a share of what the target's tolerance allows (1, the broken line)."
    )
    columns = ("target", "largest share", "state that differs most", "by")
    return section(
        "Drift of the states",
        note,
        charts.lines("Drift of the states", report.drifts[0].ticks, [d.shares for d in report.drifts]),
        charts.legend([drift.target for drift in report.drifts]),
        table(columns, rows),
    )


def state_dtypes(report: Report) -> str:
    """What each state is kept in, and how far narrower states go from float32 over time."""
    found = report.states or {}
    bound, windows, ticks = found["bound"], found["windows"], found["ticks"]
    taken = {state["name"]: state["dtype"] for state in found["states"]}
    drawn = {"all as taken": found["together"]["curve"]}
    for state in found["states"]:
        for one in state["tried"]:
            if one["error"] is None or one["error"] > bound:
                drawn[f"{state['name']} in {one['dtype']}, refused"] = one["curve"]
    curves = [[math.inf if e is None else e / bound for e in curve] for curve in drawn.values()]
    rows = (
        (
            state["name"],
            one["dtype"],
            "∞" if one["error"] is None else f"{one['error']:.2%}",
            one["worst"],
            "taken" if taken[state["name"]] == one["dtype"] else "",
        )
        for state in found["states"]
        for one in state["tried"]
    )
    note = (
        f"The example over and over, {ticks:,} ticks without reset, with states in fewer bytes: the error of "
        f"whatever output or state goes farthest, as a share of the {bound:.3g} of its size that is allowed. "
        f"An error that still grows counts as what it becomes in {found['lasting']:,} ticks. "
        f"{found['float32 bytes']:,} B of states became {found['bytes']:,} B, scales counted."
    )
    ends = [ticks // windows * (place + 1) for place in range(windows)]
    return section(
        "Dtypes of the states",
        note,
        charts.lines("Drift of narrower states", ends, curves),
        charts.legend(list(drawn)),
        table(("state", "dtype", "largest error", "of", ""), rows),
    )


def quantization(report: Report) -> str:
    """What is quantized, what that does to each layer, and what stays in float."""
    found = report.quantization or {}
    layers = found.get("layers", [])
    left = ((one["origin"], one["operator"], one["why"]) for one in found["left in float"])
    return section(
        f"Quantization: {found['format']}",
        _blame(found) if layers else "What is quantized.",
        _layers(layers, found["to blame"]) if layers else _weights(found["quantized"]),
        _beside(found.get("in int16", ())),
        _prepared(found.get("prepared", ())),
        "<h3>Left in float</h3>",
        table(("module", "operator", "why"), left),
    )


def _blame(found: Mapping[str, Any]) -> str:
    named = {one["result"]: one["origin"] for one in found["layers"]}
    to_blame = found["to blame"]
    verdict = (
        f"The first layer whose result passes the format's bound is {named[to_blame]}."
        if to_blame
        else "No layer's result passes the format's bound."
    )
    return (
        "Every layer over the example, in the order of the step. Noise is in decibels below the signal: "
        "alone with float activations, together with all that comes before. Steps are those of the integers, "
        f"beyond is the part of the values that no integer reaches. {verdict}"
    )


def _layers(layers: Sequence[Mapping[str, Any]], to_blame: str) -> str:
    columns = (
        *("module", "operator", "result", "alone dB", "together dB"),
        *("weight", "its step", "beyond", "dB", "activation", "its step", "beyond", "dB", ""),
    )
    rows = (
        (
            *(one["origin"], one["operator"], _range(one["low"], one["high"])),
            *(_decibels(one["alone"]), _decibels(one["together"])),
            *_rounding(one["weight"]),
            *_rounding(one["activation"]),
            "to blame" if one["result"] == to_blame else "",
        )
        for one in layers
    )
    return table(columns, rows)


def _rounding(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    low, high = one["steps"]
    step = "float" if not high else f"{low:.2g}" if low == high else _range(low, high)
    return _range(one["low"], one["high"]), step, f"{one['saturated']:.2%}", _decibels(one["decibels"])


def _range(low: float, high: float) -> str:
    return f"{low:.2g} to {high:.2g}"


def _decibels(found: float | None) -> str:
    """None is no noise at all."""
    return "exact" if found is None else f"{found:.1f}"


def _beside(found: Sequence[Mapping[str, Any]]) -> str:
    return f"<h3>Beside the products, in int16</h3>{_weights(found)}" if found else ""


def _prepared(found: Sequence[Mapping[str, Any]]) -> str:
    rows = (
        (one["method"], ", ".join(one["modules"]), f"{one['before']:.2%}", f"{one['after']:.2%}")
        for one in found
    )
    columns = ("", "around", "noise before", "noise with it")
    return f"<h3>Changed before the rounding</h3>{table(columns, rows)}" if found else ""


def _weights(found: Sequence[Mapping[str, Any]]) -> str:
    rows = ((one["origin"], one["operator"], str(tuple(one["shape"]))) for one in found)
    return table(("module", "operator", "weight"), rows)


def search(report: Report) -> str:
    """The mixes that a search measured."""
    found = report.search or {}
    if "words" in found:
        return _narrowed(found)
    exact = found["float"]
    rows = [
        (
            _mix(each),
            each["bytes"],
            f"{each['microseconds']:.1f}",
            f"{each['lost']:.3g}",
            f"{each['error']:.2%}",
            "taken" if each == found["chosen"] else "",
        )
        for each in found["front"]
    ]
    rows.append(("all in float", exact["bytes"], f"{exact['microseconds']:.1f}", "0", "0.00%", ""))
    note = (
        f"{len(found['tried']):,} mixes of formats were measured. The line goes through those that no other "
        "beats in both bytes of weights and loss; the last is the step in float."
    )
    front = [(each["bytes"], each["lost"]) for each in found["front"]]
    return section(
        "Formats within a budget",
        note,
        charts.scatter(
            "Loss against bytes of weights",
            [(each["bytes"], each["lost"]) for each in found["tried"]],
            [*front, (exact["bytes"], 0.0)],
            f"{found['metric']} against bytes of weights",
        ),
        table(("products", "bytes", f"µs a step, {found['target']}", found["metric"], "error", ""), rows),
    )


def _narrowed(found: Mapping[str, Any]) -> str:
    """The widths that a search measured, which no step's time tells apart."""
    rows = [
        (_mix(each), each["bytes"], f"{each['lost']:.3g}", f"{each['error']:.2%}",
         "taken" if each == found["chosen"] else "")
        for each in found["front"]
    ]  # fmt: skip
    note = (
        f"{len(found['tried']):,} mixes of widths were measured. The line goes through those that no other "
        f"beats in both bytes of operands and loss; all in 16 bits has {found['words']['bytes']:,} bytes."
    )
    front = [(each["bytes"], each["lost"]) for each in found["front"]]
    return section(
        "Widths within a budget",
        note,
        charts.scatter(
            "Loss against bytes of operands",
            [(each["bytes"], each["lost"]) for each in found["tried"]],
            front,
            f"{found['metric']} against bytes of operands",
        ),
        table(("values and constants", "bytes", found["metric"], "error", ""), rows),
    )


def _mix(trial: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in trial["products"].items())


def predictions(found: Confusion) -> str:
    """The confusion matrix; the darker, the larger the share of its row."""
    head = "".join(f"<th>{escaped(label)}</th>" for label in found.labels)
    body = "".join(
        f"<tr><th>{escaped(label)}</th>"
        + "".join(f'<td style="--share:{count / max(sum(row), 1):.3f}">{count or ""}</td>' for count in row)
        + "</tr>"
        for label, row in zip(found.labels, found.counts, strict=True)
    )
    total = sum(map(sum, found.counts))
    note = (
        f"{total:,} sequences ({found.origin}) through {found.target}, {found.accuracy:.2%} right. "
        "Rows are what it was, columns what it was taken for."
    )
    matrix = f'<div class="wide"><table class="matrix"><tr><th></th>{head}</tr>{body}</table></div>'
    return section("Predictions", note, matrix)


def targets(report: Report) -> str:
    """Every target of the bundle with its sizes in bytes."""
    columns = ("target", "backend", "machine", "files", "code", "flash", "RAM of a stream", "here")
    note = (
        "Bytes. Flash is constants and compiled code, RAM two sets of states and scratch; the code of a "
        "target that runs under Python is among its files."
    )
    return section("Targets", note, table(columns, map(_row, report.targets)))


def _row(one: TargetFigures) -> tuple[str | int, ...]:
    machine = " ".join(filter(None, (one.machine.system, one.machine.arch))) or "any"
    sizes = (one.file_bytes, one.code_bytes or "", one.flash_bytes, one.ram_bytes)
    return one.target, one.backend, machine, *sizes, one.why or "opens"
