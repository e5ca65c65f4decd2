"""The files of an engine: its Verilog, the contents of its memories, and a top that names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources

import numpy as np

from millstream_hw.engine.image import Image
from millstream_hw.engine.instruction import BITS, encode, header

TOP = "millstream_top"


def files(image: Image) -> dict[str, bytes]:
    """Everything that synthesis and simulation read, by file name."""
    encoded = [encode(instruction) for instruction in image.program]
    words = [_joined(row, 16) for row in image.weights.tolist()]
    texts = {
        "engine.v": resources.files("millstream_hw.engine").joinpath("rtl/engine.v").read_text(),
        "instruction.vh": header(),
        f"{TOP}.v": _top(image),
        "data.hex": _hex(image.data.tolist(), 16),
        "weights.hex": _hex(words, 16 * image.lanes),
        "biases.hex": _hex(image.biases.tolist(), image.sum_bits),
        "tables.hex": _hex(image.tables.tolist(), 16),
        "program.hex": _hex(encoded, BITS),
    }
    return {name: text.encode() for name, text in texts.items()}


def parameters(image: Image) -> Mapping[str, int]:
    """The parameters of the engine."""
    return {
        "LANES": image.lanes,
        "SUM": image.sum_bits,
        "DATA": depth(len(image.data)),
        "WEIGHTS": depth(len(image.weights)),
        "BIASES": depth(len(image.biases)),
        "TABLES": depth(len(image.tables)),
        "PROGRAM": depth(len(image.program)),
        "IN_BASE": image.in_base,
        "IN_WORDS": image.in_words,
        "OUT_BASE": image.out_base,
        "OUT_WORDS": image.out_words,
        "FRAME_START": image.frame_start,
        "INVERSE": int(image.inverts),
    }


def depth(words: int) -> int:
    """The words of a memory that holds that many: a power of two, two at least."""
    return 1 << max(1, int(np.ceil(np.log2(max(words, 1)))))


def _hex(values: list[int], bits: int) -> str:
    padded = [*values, *[0] * (depth(len(values)) - len(values))]
    digits = -(-bits // 4)
    return "".join(f"{value & ((1 << bits) - 1):0{digits}x}\n" for value in padded)


def _joined(values: Iterable[int], bits: int) -> int:
    """One word of many, the first lowest."""
    return sum((value & ((1 << bits) - 1)) << (bits * place) for place, value in enumerate(values))


def _top(image: Image) -> str:
    given = ",\n".join(f"    .{name}({value})" for name, value in parameters(image).items())
    return f"""// One stream: frames of {image.in_words} words in, results of {image.out_words} words out.
module {TOP} (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [15:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [15:0] out_data,
    output wire out_last
);

millstream_engine #(
{given}
) engine (
    .clk(clk), .rst(rst),
    .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data),
    .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data), .out_last(out_last)
);

endmodule
"""
