"""The files of an unrolled circuit: da4ml's logic, and a top that keeps the states between frames."""

from __future__ import annotations

import os
import tempfile

import numpy as np
from da4ml.codegen import VerilogModel
from da4ml.types import CombLogic

from millstream_hw.circuit import Circuit

_LOGIC = "millstream_logic"


def files(circuit: Circuit, logic: CombLogic) -> dict[str, bytes]:
    """Everything that synthesis and simulation read, by file name."""
    found = {"millstream_top.v": _top(circuit, logic).encode()}
    with tempfile.TemporaryDirectory() as room:
        VerilogModel(logic, _LOGIC, room, print_latency=False).write()
        for folder in ("src", "src/static", "src/memfiles"):
            for name in sorted(os.listdir(os.path.join(room, folder))):
                if name.endswith((".v", ".mem")) and "wrapper" not in name:
                    with open(os.path.join(room, folder, name), "rb") as file:
                        # An attribute of Xilinx tools: others take it for a wish that they cannot grant.
                        found[name] = file.read().replace(b'(* rom_style = "distributed" *)', b"")
    return found


def _top(circuit: Circuit, logic: CombLogic) -> str:
    in_words = sum(port.size for port in circuit.inputs)
    out_words = sum(port.size for port in circuit.outputs)
    initial = [int(value) for state in circuit.states for value in state.initial.reshape(-1)]
    given = sum(sum(bits) for bits in logic.inp_kifs.T)
    widths = [int(sum(bits)) for bits in logic.out_kifs.T]
    words = "\n".join(_word(place, logic.out_kifs.T, widths) for place in range(len(widths)))
    packed = ", ".join(f"word_{place}" for place in reversed(range(len(widths))))
    state_bits = 16 * len(initial)
    reset = "".join(f"{value & 0xFFFF:04x}" for value in reversed(initial))
    logic_inputs = "{states, words}" if initial else "words"
    declared = f"reg [{state_bits - 1}:0] states;" if initial else ""
    cleared = f"states <= {state_bits}'h{reset};" if initial else ""
    kept = f"states <= following[{16 * (out_words + len(initial)) - 1}:{16 * out_words}];" if initial else ""
    return f"""// One stream: frames of {in_words} words in, results of {out_words} words out.
// The logic between the registers computes a whole step in the cycle of STEP.
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

wire [{given - 1}:0] logic_in = {logic_inputs};
wire [{sum(widths) - 1}:0] logic_out;
{_LOGIC} combinational (.model_inp(logic_in), .model_out(logic_out));

// Each result has only the bits that it can need.
{words}
wire [{16 * len(widths) - 1}:0] following = {{{packed}}};

assign in_ready = state == LOAD;
assign out_valid = state == SEND;
assign out_data = results[15:0];
assign out_last = left == 0;

always @(posedge clk) begin
    if (rst) begin
        state <= LOAD;
        left <= {in_words - 1};
        {cleared}
    end else case (state)
        LOAD: if (in_valid) begin
            words <= {"{in_data, words[" + str(16 * in_words - 1) + ":16]}" if in_words > 1 else "in_data"};
            left <= left - 16'd1;
            if (left == 0) state <= STEP;
        end
        STEP: begin
            results <= following[{16 * out_words - 1}:0];
            {kept}
            left <= {out_words - 1};
            state <= SEND;
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


def _word(place: int, kifs: np.ndarray, widths: list[int]) -> str:
    """One result as 16 bits: sign or zeros above, zeros below what it cannot have."""
    signed, _, fraction = (int(number) for number in kifs[place])
    width, start = widths[place], sum(widths[:place])
    if not width:
        return f"wire [15:0] word_{place} = 16'd0;"
    below = -fraction
    above = 16 - width - below
    parts = [f"logic_out[{start + width - 1}:{start}]"]
    if above:
        fill = f"logic_out[{start + width - 1}]" if signed else "1'b0"
        parts.insert(0, f"{{{above}{{{fill}}}}}")
    if below:
        parts.append(f"{below}'d0")
    return f"wire [15:0] word_{place} = {{{', '.join(parts)}}};"
