"""`millstream profile`: where the time of a step goes on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

import millstream_runtime
from millstream.cli.arguments import BundlePath, Json
from millstream.cli.output import console, facts, print_json, table

_BAR = 30


def profile(
    bundle: BundlePath,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="How often each stage is timed.")] = 2000,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="PAGE.html", help="Draw it as a page as well.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Time every fused stage of the step by itself, with the Numba backend, in one thread."""
    from millstream.profiling import profile as measure
    from millstream.report.page import flame
    from millstream.writing import replace

    found = measure(millstream_runtime.read(bundle), rounds)
    if output:
        replace(output, flame.page(found).encode())
    if as_json:
        print_json(found)
        return
    largest = max((group.microseconds for group in found.groups), default=0.0) or 1.0
    rows = (
        (
            f"{group.microseconds:.3f}",
            f"{flame.share(found, group):.1%}",
            "█" * round(_BAR * group.microseconds / largest),
            group.stages,
            group.points,
            group.weight_bytes,
            group.origin,
        )
        for group in found.groups
    )
    out = console()
    out.print(table(("us", "share", "", "stages", "points", "weights B", "origin"), rows))
    whole = {
        "stages, each by itself": f"{found.sum:.2f} us",
        "the step as one function": f"{found.whole:.2f} us",
        "a call, left out": f"{found.call:.2f} us",
        "page": output,
    }
    out.print(facts(whole))
