"""What a road would take of a part, and whether the part has it."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from millstream_hw.parts import Part


@dataclass(frozen=True)
class Share:
    """What one layer of a model takes: `multipliers` that it uses, 16-bit `words` of constants, and cycles of
    a frame. `origin` is its place in the model, empty for what the road adds; `strategy` is how it computes,
    empty where a road has one way alone."""

    layer: str
    kind: str
    origin: str
    multipliers: int
    words: int
    cycles: int
    strategy: str = ""


@dataclass(frozen=True)
class Estimate:
    """4-input tables, registers, multipliers, block RAMs, cycles of a frame, and SPRAMs."""

    tables: int
    registers: int
    multipliers: int = 0
    blocks: int = 0
    cycles: int = 0
    sprams: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        """Both on one part."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Estimate(*(mine + others for mine, others in pairs))

    def overflows(self, part: Part) -> list[str]:
        """One line for everything that the part has too little of."""
        pairs = {
            "logic tables": (self.tables, part.tables),
            "registers": (self.registers, part.registers),
            "multipliers": (self.multipliers, part.multipliers),
            "block RAMs": (self.blocks, part.blocks),
            "SPRAMs": (self.sprams, part.sprams),
        }
        return [
            f"{need:,} {name}, {part.name} has {has:,}" for name, (need, has) in pairs.items() if need > has
        ]

    def microseconds(self, clock_mhz: float) -> float:
        """How long a frame lasts."""
        return self.cycles / clock_mhz


#: What takes nothing.
NOTHING = Estimate(0, 0)
