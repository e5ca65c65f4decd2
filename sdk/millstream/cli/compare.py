"""`millstream compare`: two bundles side by side."""

from __future__ import annotations

from typing import Annotated

import typer

import millstream_runtime
from millstream.cli.arguments import BundlePath, Json
from millstream.cli.output import console, print_json, table


def compare(
    first: BundlePath,
    second: BundlePath,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="How many steps are timed.")] = 2000,
    as_json: Json = False,
) -> None:
    """Hold the second bundle against the first: sizes, times here, and outputs on the golden frames."""
    from millstream.comparing import compare as measure

    found = measure(millstream_runtime.read(first), millstream_runtime.read(second), steps)
    if as_json:
        print_json(found)
        return
    one, other = found.first, found.second
    rows: list[tuple[object, ...]] = [
        ("model", one.model, other.model, ""),
        (
            "identity",
            one.identity[:16],
            other.identity[:16],
            "same" if one.identity == other.identity else "",
        ),
        _numbers("bundle B", one.bundle_bytes, other.bundle_bytes),
        _numbers("state B", one.state_bytes, other.state_bytes),
    ]
    targets = dict.fromkeys((*one.weight_bytes, *other.weight_bytes))
    for target in targets:
        both = one.weight_bytes.get(target), other.weight_bytes.get(target)
        rows.append(_numbers(f"{target}: weights B", *both))
    for target in targets:
        rows.append(_numbers(f"{target}: us median", one.medians.get(target), other.medians.get(target)))
    out = console()
    out.print(table(("", one.path, other.path, "second / first"), rows))
    for difference in found.contract:
        out.print(f"differs: {difference}")
    if found.apart:
        apart = (
            (a.output, a.largest, f"{a.relative_rms:.2%}", "" if a.agreeing is None else f"{a.agreeing:.2%}")
            for a in found.apart
        )
        columns = ("output", "largest difference", "relative RMS", "frames with the same largest element")
        out.print(table(columns, apart))
    else:
        out.print("not compared on frames: inputs or outputs differ")


def _numbers(what: str, one: float | None, other: float | None) -> tuple[str, ...]:
    shown = ("-" if n is None else f"{n:,}" if isinstance(n, int) else f"{n:.2f}" for n in (one, other))
    return (what, *shown, f"{other / one:.2f} x" if one and other else "")
