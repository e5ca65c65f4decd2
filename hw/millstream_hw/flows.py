"""How open tools go from Verilog to a bitstream, for each family of FPGAs that they serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Flow:
    """The tools of one family, and how each is told what to do.

    `synthesize` is the pass of Yosys. `place` is the variant of nextpnr, `pins` its option for the file of
    constraints, `no_pins` the one that allows ports without any, `text` that for the text configuration.
    `packer` makes the bitstream of it, with the options `pack`, in a file with that `ending`. The rest is
    what nextpnr calls the resources; empty where it does not count them.
    """

    synthesize: str
    place: str
    pins: str
    no_pins: str
    text: str
    packer: str
    pack: tuple[str, ...]
    ending: str
    tables: str
    registers: str
    multipliers: str
    blocks: str
    sprams: str


#: By the family of the part.
FLOWS: Mapping[str, Flow] = {
    "ecp5": Flow(
        synthesize="synth_ecp5",
        place="nextpnr-ecp5",
        pins="--lpf",
        no_pins="--lpf-allow-unconstrained",
        text="--textcfg",
        packer="ecppack",
        pack=("--compress",),
        ending=".bit",
        tables="TRELLIS_COMB",
        registers="TRELLIS_FF",
        multipliers="MULT18X18D",
        blocks="DP16KD",
        sprams="",
    ),
    "ice40": Flow(
        synthesize="synth_ice40 -dsp",
        place="nextpnr-ice40",
        pins="--pcf",
        no_pins="--pcf-allow-unconstrained",
        text="--asc",
        packer="icepack",
        pack=(),
        ending=".bin",
        tables="ICESTORM_LC",
        registers="",
        multipliers="ICESTORM_DSP",
        blocks="ICESTORM_RAM",
        sprams="ICESTORM_SPRAM",
    ),
}
