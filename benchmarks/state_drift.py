"""How far float32 drifts from float64 over a long stream, for every system of the catalogue.

    PYTHONPATH=sdk:runtimes:models:tests/support python benchmarks/state_drift.py --frames 100000 gla mamba

Both run on the same frames from the same start, in the sequence form and stretches of 500 frames with the
state carried. What is printed is the largest difference of the outputs in the last stretch, and of each
state at its end, in units of its largest value; then the largest number in the state, which tells a sum
that grows from one that does not.
"""

from __future__ import annotations

import argparse
import copy

import torch
from systems import NAMES, moved, relative

STRETCH = 500


@torch.no_grad()
def drift(name: str, frames: int) -> tuple[float, float, float]:
    """Difference of outputs, difference of states, largest number in a state, after so many frames."""
    double = moved(name)
    single = copy.deepcopy(double).float()
    generator = torch.Generator().manual_seed(0)
    wide, narrow = double.initial_state(1), single.initial_state(1)
    outputs = 0.0
    for _ in range(frames // STRETCH):
        x = torch.randn(1, STRETCH, 12, generator=generator, dtype=torch.float64)
        expected, wide = double.prefill(x, wide)
        found, narrow = single.prefill(x.float(), narrow)
        outputs = relative(found, expected)
    states = max(relative(narrow[key], value) for key, value in wide.items())
    return (
        outputs,
        states,
        max(float(value.abs().max()) for value in wide.values() if value.is_floating_point()),
    )


def main() -> None:
    """Measure the named systems, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="systems of the catalogue; all without any")
    parser.add_argument("--frames", type=int, default=100_000)
    options = parser.parse_args()
    for name in options.names or NAMES:
        outputs, states, largest = drift(name, options.frames)
        print(
            f"{name:24} {options.frames} frames: outputs {outputs:.1e}, states {states:.1e}, "
            f"largest {largest:.3g}",
            flush=True,
        )


if __name__ == "__main__":
    main()
