"""The files of an unrolled circuit: da4ml's logic, and a top that keeps the states between frames."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import numpy as np
from da4ml.codegen import VerilogModel
from da4ml.types import CombLogic

from millstream_hw.circuit import Circuit
from millstream_hw.unrolled.bounds import bounds

_LOGIC = "millstream_logic"


def files(circuit: Circuit, stages: Sequence[CombLogic]) -> dict[str, bytes]:
    """Everything that synthesis and simulation read, by file name. The logic of one step comes in stages."""
    found = {"millstream_top.v": _top(circuit, stages).encode()}
    for place, logic in enumerate(stages):
        found |= _logic(logic, f"{_LOGIC}_{place}")
    return found


def _logic(logic: CombLogic, name: str) -> dict[str, bytes]:
    """A module with the ports `model_inp` and `model_out`, and what it reads."""
    found = {}
    with tempfile.TemporaryDirectory() as room:
        VerilogModel(logic, name, room, print_latency=False).write()
        for folder in ("src", "src/static", "src/memfiles"):
            for file_name in sorted(os.listdir(os.path.join(room, folder))):
                if file_name.endswith((".v", ".mem")) and "wrapper" not in file_name:
                    with open(os.path.join(room, folder, file_name), "rb") as file:
                        # An attribute of Xilinx tools: others take it for a wish that they cannot grant.
                        found[file_name] = file.read().replace(b'(* rom_style = "distributed" *)', b"")
    return found


def _top(circuit: Circuit, stages: Sequence[CombLogic]) -> str:
    in_words = sum(port.size for port in circuit.inputs)
    out_words = sum(port.size for port in circuit.outputs)
    known = bounds(circuit)
    bits = [known[state.port.name].bits for state in circuit.states for _ in range(state.port.size)]
    initial = [int(value) for state in circuit.states for value in state.initial.reshape(-1)]
    widths = [*(_width(logic.inp_kifs) for logic in stages), _width(stages[-1].out_kifs)]
    results = stages[-1].out_kifs.T
    made = f"made_{len(stages) - 1}"
    result_bits = [int(sum(kif)) for kif in results]
    words = "\n".join(_word(place, results, result_bits, made) for place in range(len(results)))
    packed = ", ".join(f"word_{place}" for place in reversed(range(out_words)))
    # Each state is kept in the bits that it can need.
    following = ", ".join(
        f"word_{out_words + place}[{width - 1}:0]" for place, width in reversed(list(enumerate(bits)))
    )
    cleared = ", ".join(
        f"{width}'d{value & ((1 << width) - 1)}"
        for width, value in reversed(list(zip(bits, initial, strict=True)))
    )
    logic_inputs = "{states, words}" if bits else "words"
    declared = f"reg [{sum(bits) - 1}:0] states;" if bits else ""
    reset = f"states <= {{{cleared}}};" if bits else ""
    kept = f"states <= {{{following}}};" if bits else ""
    modules = "\n".join(_stage(place, widths) for place in range(len(stages)))
    moved = "\n    ".join(f"given_{place} <= made_{place - 1};" for place in range(1, len(stages)))
    advance = f"always @(posedge clk) begin\n    {moved}\nend" if moved else ""
    return f"""// One stream: frames of {in_words} words in, results of {out_words} words out.
// STEP computes a whole step in {len(stages)} cycles, while inputs and states stand still.
module millstream_top (
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

localparam LOAD = 2'd0, STEP = 2'd1, SEND = 2'd2;

reg [1:0] state;
reg [15:0] left;
reg [{16 * in_words - 1}:0] words;
reg [{16 * out_words - 1}:0] results;
{declared}

wire [{widths[0] - 1}:0] given_0 = {logic_inputs};
{modules}
{advance}

// Each result has only the bits that it can need.
{words}

assign in_ready = state == LOAD;
assign out_valid = state == SEND;
assign out_data = results[15:0];
assign out_last = left == 0;

always @(posedge clk) begin
    if (rst) begin
        state <= LOAD;
        left <= {in_words - 1};
        {reset}
    end else case (state)
        LOAD: if (in_valid) begin
            words <= {"{in_data, words[" + str(16 * in_words - 1) + ":16]}" if in_words > 1 else "in_data"};
            left <= left - 16'd1;
            if (left == 0) begin
                left <= {len(stages) - 1};
                state <= STEP;
            end
        end
        STEP: begin
            left <= left - 16'd1;
            if (left == 0) begin
                results <= {{{packed}}};
                {kept}
                left <= {out_words - 1};
                state <= SEND;
            end
        end
        SEND: if (out_ready) begin
            results <= results >> 16;
            left <= left - 16'd1;
            if (left == 0) begin
                left <= {in_words - 1};
                state <= LOAD;
            end
        end
        default: state <= LOAD;
    endcase
end

endmodule
"""


def _width(kifs: np.ndarray) -> int:
    """The bits of all values of a port together."""
    return int(kifs.sum())


def _stage(place: int, widths: list[int]) -> str:
    """One stage of the logic, and the registers before it when it is not the first."""
    registers = f"reg [{widths[place] - 1}:0] given_{place};\n" if place else ""
    made = f"wire [{widths[place + 1] - 1}:0] made_{place};\n"
    module = f"{_LOGIC}_{place} stage_{place} (.model_inp(given_{place}), .model_out(made_{place}));"
    return registers + made + module


def _word(place: int, kifs: np.ndarray, widths: list[int], logic: str) -> str:
    """One result as 16 bits: sign or zeros above, zeros below what it cannot have."""
    signed, _, fraction = (int(number) for number in kifs[place])
    width, start = widths[place], sum(widths[:place])
    if not width:
        return f"wire [15:0] word_{place} = 16'd0;"
    below = -fraction
    above = 16 - width - below
    parts = [f"{logic}[{start + width - 1}:{start}]"]
    if above:
        fill = f"{logic}[{start + width - 1}]" if signed else "1'b0"
        parts.insert(0, f"{{{above}{{{fill}}}}}")
    if below:
        parts.append(f"{below}'d0")
    return f"wire [15:0] word_{place} = {{{', '.join(parts)}}};"
