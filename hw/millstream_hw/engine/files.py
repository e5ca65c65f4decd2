"""The files of an engine: its Verilog, the contents of its memories, and a top that names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources

import numpy as np

from millstream_hw.engine.image import Image
from millstream_hw.engine.instruction import BITS, encode, header

TOP = "millstream_top"
#: What the memory of constants is loaded with where it wakes up empty: words of 16 bits, little-endian.
LOAD = "load.bin"


def files(image: Image, loaded: bool = False) -> dict[str, bytes]:
    """Everything that synthesis and simulation read, by file name. With `loaded` weights and tables lie in
    SPRAM and come through the port, from LOAD.
    """
    encoded = [encode(instruction) for instruction in image.program]
    constants = "constants_spram.v" if loaded else "constants_block.v"
    texts = {
        "engine.v": _verilog("engine.v"),
        constants: _verilog(constants),
        "instruction.vh": header(),
        f"{TOP}.v": _top(image, loaded),
        "data.hex": _hex(image.data.tolist(), len(image.data) if loaded else depth(len(image.data)), 16),
        "biases.hex": _hex(image.biases.tolist(), *image.bias_words),
        "program.hex": _hex(encoded, depth(len(encoded)), BITS),
    }
    weights = [_joined(row, image.weight_bits) for row in image.weights.tolist()]
    if loaded:
        return {**_encoded(texts), LOAD: _load(image, weights)}
    count, bits = image.weight_words
    texts["weights.hex"] = _hex(weights, depth(count), bits)
    texts["tables.hex"] = _hex(image.tables.tolist(), depth(len(image.tables)), 16)
    return _encoded(texts)


def load_of(sources: Mapping[str, bytes]) -> bytes:
    """What an engine with these sources is loaded with; empty where it has its constants from the start."""
    return sources.get(LOAD, b"")


def _encoded(texts: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in texts.items()}


def _load(image: Image, weights: list[int]) -> bytes:
    """The weights, then the tables with as many entries in a word as fit and are a power of two."""
    parts, fold = image.parts, image.fold
    tables = image.tables.tolist()
    words = [*weights, *(_joined(tables[at : at + fold], 16) for at in range(0, len(tables), fold))]
    return b"".join(word.to_bytes(2 * parts, "little") for word in words)


def _verilog(name: str) -> str:
    return resources.files("millstream_hw.engine").joinpath(f"rtl/{name}").read_text()


def parameters(image: Image, loaded: bool) -> Mapping[str, int]:
    """The parameters of the engine; with `loaded` its constants come through the port."""
    count, _ = image.weight_words
    return {
        "LANES": image.lanes,
        "WEIGHT": image.weight_bits,
        "SUM": image.sum_bits,
        "BIAS": image.bias_words[1],
        "DATA": len(image.data) if loaded else depth(len(image.data)),
        "WEIGHTS": count if loaded else depth(count),
        "BIASES": image.bias_words[0],
        "TABLES": len(image.tables) if loaded else depth(len(image.tables)),
        "PROGRAM": depth(len(image.program)),
        "IN_BASE": image.in_base,
        "IN_WORDS": image.in_words,
        "OUT_BASE": image.out_base,
        "OUT_WORDS": image.out_words,
        "LOAD_WORDS": image.load_words * image.parts if loaded else 0,
        "FRAME_START": image.frame_start,
        "INVERSE": int(image.inverts),
    }


def depth(words: int) -> int:
    """The words of a memory that holds that many: a power of two, two at least."""
    return 1 << max(1, int(np.ceil(np.log2(max(words, 1)))))


def _hex(values: list[int], words: int, bits: int) -> str:
    padded = [*values, *[0] * (words - len(values))]
    digits = -(-bits // 4)
    return "".join(f"{value & ((1 << bits) - 1):0{digits}x}\n" for value in padded)


def _joined(values: Iterable[int], bits: int) -> int:
    """One word of many, the first lowest."""
    return sum((value & ((1 << bits) - 1)) << (bits * place) for place, value in enumerate(values))


def _top(image: Image, loaded: bool) -> str:
    given = ",\n".join(f"    .{name}({value})" for name, value in parameters(image, loaded).items())
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
